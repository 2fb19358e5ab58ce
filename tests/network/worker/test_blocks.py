"""An aggregator's numbers in blocks are those of the whole, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline.aggregation import Update
from fogline.algorithms import Algorithm, algorithms, make
from fogline.algorithms import group as groups
from fogline.network.worker import blocks
from fogline.network.worker.files import write
from fogline.network.worker.groups import Groups
from fogline.network.worker.requests import Adopt, Lift, Member, Merge, Move
from fogline.params import Entry, Params, Spec, map_arrays
from fogline.training.method import LocalWork

TRAINED, BUFFERS = 1000, 60
SPEC = Spec.of(
    [
        Entry("w", (TRAINED,), "float32"),
        Entry("b", (BUFFERS,), "float32", trainable=False),
        Entry("c", (2,), "int64", trainable=False),
    ]
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 128)


def update_of(algorithm: Algorithm, seed: int) -> Update:
    rng = np.random.default_rng(seed)
    start, end = (rng.normal(size=TRAINED).astype(np.float32) for _ in range(2))
    received = groups.send_down(algorithm, groups.root(Params.zeros(SPEC))).received
    local = algorithm.prepare(start, {}, received, np.zeros(3, np.int64))
    report = algorithm.report(start, end, local, received, LocalWork(10 + seed, 5 + seed, 0.1, TRAINED))
    vectors = {name: term.vector for name, term in report.terms.items()}
    weights = {name: term.weight for name, term in report.terms.items()}
    vectors["buffers"], weights["buffers"] = rng.normal(size=BUFFERS).astype(np.float32), 10.0
    return Update(vectors, weights, np.array([seed, 1], np.int64))


def same(one: Path, other: Path) -> None:
    first, second = map_arrays(one), map_arrays(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.mark.parametrize("name", [n for n, kind in algorithms().items() if vars(kind).get("columnwise")])
@pytest.mark.parametrize("exact", [False, True])
def test_blocks_give_the_bits_of_the_whole(name: str, exact: bool, tmp_path: Path) -> None:
    algorithm = make(name)
    whole, parts = Groups(algorithm, SPEC, exact), blocks.GroupsInBlocks(algorithm, SPEC, exact)
    initial = Params.zeros(SPEC)
    initial.vector[:] = np.random.default_rng(9).normal(size=SPEC.floats)
    whole.put(groups.root(initial), str(tmp_path / "g0"), str(tmp_path / "m0"))
    members: list[Member] = []
    for i in range(3):
        write(str(tmp_path / f"u{i}"), update_of(algorithm, i))
        members.append(Member(str(tmp_path / f"u{i}"), f"client-{i}", i))
    for kind, worker in (("a", whole), ("b", parts)):

        def path(what: str, kind: str = kind) -> str:
            return str(tmp_path / f"{kind}-{what}")

        worker.adopt(Adopt(str(tmp_path / "m0"), path("g1"), path("m1")))
        worker.move(Move(path("g1"), tuple(members), True, 5, 0, path("g2"), path("m2")))
        worker.move(Move(path("g2"), tuple(members[:2]), True, 5, 1, path("g3"), path("m3")))
        worker.lift(Lift(path("g3"), path("lifted")))
        worker.adopt(Adopt(str(tmp_path / "m0"), path("g4"), path("m4"), path("g3")))
        worker.merge(Merge(tuple(members), path("merged")))
        top = (Member(path("merged"), "fog", 0), *members[:1])
        worker.move(Move(str(tmp_path / "g0"), top, False, 5, 0, path("g5"), path("m5")))
        worker.move(Move(path("g5"), tuple(members), False, 5, 1, path("g6"), path("m6")))
    for what in ("g1", "m1", "g2", "g3", "m3", "lifted", "g4", "merged", "g5", "m5", "g6", "m6"):
        same(tmp_path / f"a-{what}", tmp_path / f"b-{what}")


def test_an_update_that_is_not_finite_in_one_block_counts_in_none(tmp_path: Path) -> None:
    algorithm = make("fedavg")
    good, bad = update_of(algorithm, 1), update_of(algorithm, 2)
    bad.vectors["delta"][TRAINED - 3] = np.nan
    whole, parts = Groups(algorithm, SPEC, False), blocks.GroupsInBlocks(algorithm, SPEC, False)
    for name, update in (("good", good), ("bad", bad)):
        write(str(tmp_path / name), update)
    write(str(tmp_path / "short"), Update({"delta": good.vectors["delta"][:-1]}, {"delta": 1.0}, good.counters))
    (tmp_path / "junk").write_bytes(b"no safetensors at all")
    members = tuple(Member(str(tmp_path / name), name, 0) for name in ("good", "bad", "short", "junk"))
    one = whole.merge(Merge(members, str(tmp_path / "a")))
    other = parts.merge(Merge(members, str(tmp_path / "b")))
    assert sorted(child for child, _ in other.refused) == ["bad", "junk", "short"]
    assert sorted(child for child, _ in one.refused) == ["bad", "junk", "short"]
    same(tmp_path / "a", tmp_path / "b")


def test_a_method_says_for_itself_that_blocks_suit_it() -> None:
    class Heir(type(make("fedavg"))):  # type: ignore[misc]
        pass

    large = Spec.of([Entry("w", (blocks.LARGE,), "float32")])
    assert blocks.suits(make("fedavg"), large)
    assert not blocks.suits(Heir(), large)
    assert not blocks.suits(make("fedexp"), large)
    assert not blocks.suits(make("fedavg"), SPEC)

"""Linear codes at an aggregator: added as they are and decoded once; what cannot be added is decoded as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.aggregation import Folded, Partial, UnusableUpdateError, Update, fold_named
from fogline.aggregation.rules import make_rule
from fogline.algorithms import group as group_models
from fogline.algorithms import make
from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.effects import SENDER
from fogline.compute.files import read_group, read_update
from fogline.compute.groups import Groups
from fogline.compute.links import NodeLinks
from fogline.compute.messages import Message, decoded, decoded_update, update_through
from fogline.nodes.effects import FoldInput, Merge, Move
from fogline.params import map_arrays, write_arrays
from fogline.stages import LinkContext, Pipeline, StageError, pipeline
from fogline.stages.placed_code import PlacedCode
from tests.compute.asking import ask, path
from tests.compute.test_refusals import good, members
from tests.toy import SPEC, ToyTask

CODES = {text: pipeline((text,)) for text in ("random_k(share=0.3)", "subspace(share=0.5, feedback=false)")}
KINDS = pytest.mark.parametrize("stages", CODES.values(), ids=CODES)
CODE = CODES["random_k(share=0.3)"]
ROUND = 2


def links(stages: Pipeline = CODE, *, stays: bool = True) -> NodeLinks:
    return NodeLinks(sends=stages, takes=stages, adds=stages, stays_coded=stays)


def sent(update: Update | Partial, around: NodeLinks, seed: int = 0, round_: int = ROUND) -> dict[str, np.ndarray]:
    return Message.of_update(update).encoded(around.sends, {}, around.from_device(seed, round_))[0]


def aggregator(folder: Path, around: NodeLinks, blocks: bool = False, rule: str = "mean") -> GroupsOnFiles:
    folder.mkdir(exist_ok=True)
    runner = GroupsOnFiles(Groups(make("fedavg"), SPEC, make_rule(rule), links=around), blocks, around, "fog-0")
    runner.begin(group_models.root(ToyTask().initial(0)), path(folder, "fog@0/group"), path(folder, "fog@0"), "fog@0")
    return runner


def summed(values: list[Update | Partial], stages: Pipeline) -> Partial:
    """Decoded, and then added."""
    fold = fold_named(exact=False)
    for value in values:
        fold.take(decoded(value, stages))
    return fold.partial()


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every vector that is decoded."""
    found, decode = list[int](), PlacedCode.decode

    def counted(self: PlacedCode, parts: dict[str, np.ndarray], extent: object) -> np.ndarray:
        found.append(parts["values"].size)
        return decode(self, parts, extent)  # type: ignore[arg-type]

    monkeypatch.setattr(PlacedCode, "decode", counted)
    return found


@KINDS
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from([0.0, 1.0, 7.5])), min_size=1, max_size=5))
def test_added_and_decoded_is_decoded_and_added(stages: Pipeline, them: list[tuple[int, float]]) -> None:
    values: list[Update | Partial] = []
    for seed, weight in them:
        update = replace(good(seed), weights={"delta": weight, "buffers": weight})
        values.append(update_through(update, stages, {}, LinkContext(seed, common=4))[0])
    fold = fold_named(exact=False)
    for value in values:
        assert value.code == values[0].code != b""
        fold.take(value)
    made = decoded(replace(fold.partial(), code=values[0].code), stages)
    wanted = summed(values, stages)
    assert isinstance(made, Partial)
    assert (made.weights, made.count) == (wanted.weights, wanted.count)
    np.testing.assert_array_equal(made.sums["buffers"], wanted.sums["buffers"])
    np.testing.assert_allclose(made.sums["delta"], wanted.sums["delta"], atol=1e-4)


@KINDS
@pytest.mark.parametrize("blocks", [False, True])
def test_a_fog_that_merges_sends_the_sum_of_the_codes(
    stages: Pipeline, blocks: bool, tmp_path: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fogline.compute.column_blocks.BLOCK", 5)
    around = links(stages)
    runner = aggregator(tmp_path, around, blocks)
    codes = [sent(good(i), around, i) for i in range(3)]
    for i, arrays in enumerate(codes):
        write_arrays(tmp_path / f"u{i}", arrays)
    decodings.clear()
    assert ask(runner, Merge("cloud#1", members(3), ROUND), tmp_path).made == ("cloud#1",)
    assert not decodings
    message = map_arrays(tmp_path / "cloud#1")
    total = np.sum([10.0 * arrays["staged/values/delta"] for arrays in codes], axis=0)
    np.testing.assert_allclose(message["staged/values/delta"], total, rtol=1e-5)
    np.testing.assert_array_equal(message["staged/seed/delta"], codes[0]["staged/seed/delta"])
    assert (tmp_path / "cloud#1").stat().st_size == Message.of_update(good(0)).size(stages) + _more_of_a_partial(stages)


def _more_of_a_partial(stages: Pipeline) -> int:
    """Bytes of a partial result beyond those of an update."""
    fold = fold_named(exact=False)
    fold.add(good(0))
    return Message.of_update(fold.partial()).size(stages) - Message.of_update(good(0)).size(stages)


def test_the_root_decodes_once_and_moves_as_if_each_had_been(tmp_path: Path, decodings: list[int]) -> None:
    around = replace(links(stays=False), sends=Pipeline())
    runner = aggregator(tmp_path, around)
    for i in range(3):
        write_arrays(tmp_path / f"u{i}", sent(good(i), links(), i))
    decodings.clear()
    ask(runner, Move("fog@0", "fog@1", members(3), False, 0, True), tmp_path, 0, 5)
    assert len(decodings) == 1
    wanted = summed([decoded_update(sent(good(i), links(), i), CODE) for i in range(3)], CODE)
    moved = read_group(path(tmp_path, "fog@1/group")).vector - ToyTask().initial(0).vector
    np.testing.assert_allclose(moved[: SPEC.trainable], wanted.sums["delta"] / 30.0, atol=1e-5)


def test_codes_of_another_round_are_decoded_added_and_coded_anew(tmp_path: Path) -> None:
    """So what the new code loses of the late one is remembered, and nothing of those that are in time."""
    around = links()
    runner = aggregator(tmp_path, around)
    for i, round_ in enumerate((ROUND, ROUND - 1, ROUND)):
        write_arrays(tmp_path / f"u{i}", sent(good(i), around, i, round_))
    assert ask(runner, Merge("cloud#1", members(3), ROUND), tmp_path).made == ("cloud#1", SENDER)
    up = decoded(read_update(path(tmp_path, "cloud#1"), stages=CODE), CODE)
    values = [read_update(path(tmp_path, f"u{i}"), stages=CODE) for i in range(3)]
    assert isinstance(up, Partial)
    kept = map_arrays(tmp_path / SENDER)["0/delta"]
    np.testing.assert_allclose(up.sums["delta"] + kept, summed(values, CODE).sums["delta"], atol=1e-4)
    assert np.count_nonzero(kept) <= np.count_nonzero(decoded(values[1], CODE).to_arrays()["vector/delta"])


def per_number() -> Update:
    return replace(good(1), weights={"delta": np.linspace(1, 2, SPEC.trainable), "buffers": 10.0})


@pytest.mark.parametrize(
    ("update", "rule"),
    [(per_number(), "mean"), (good(1), "median"), (good(1), "exact")],
    ids=["weights", "rule", "exact"],
)
def test_where_codes_cannot_be_added_they_are_decoded_as_they_come(update: Update, rule: str, tmp_path: Path) -> None:
    """With a weight for each number, for a rule that needs all updates, and in fixed point."""
    around = replace(links(stays=False), sends=Pipeline())
    runner = aggregator(tmp_path, around, rule=rule)
    for i in range(2):
        write_arrays(tmp_path / f"u{i}", sent(update, links(), i))
    assert ask(runner, Move("fog@0", "fog@1", members(2), False, 0, True), tmp_path, 0, 5).refused == ()
    one = decoded(decoded_update(sent(update, links(), 0), CODE), CODE)
    assert isinstance(one, Update)
    moved = read_group(path(tmp_path, "fog@1/group")).vector - ToyTask().initial(0).vector
    np.testing.assert_allclose(moved[: SPEC.trainable], one.vectors["delta"], atol=1e-5)


def forged(change: Callable[[dict[str, np.ndarray]], object]) -> dict[str, np.ndarray]:
    arrays = sent(good(9), links(), 9)
    change(arrays)
    return arrays


HOSTILE = {
    "longer": (
        forged(lambda each: each.update({"staged/values/delta": np.ones(9, np.float32)})),
        "its 'delta' of 12 numbers has float32 (9,) as values, where RandomK has float32 (4,)",
    ),
    "another model": (
        forged(
            lambda each: each.update(
                {"staged/values/delta": np.ones(6, np.float32), "staged/shape/delta": np.array([20, 4])}
            )
        ),
        "Its vector 'delta' has shape (20,) where the model has (12,)",
    ),
    "no seed": (forged(lambda each: each.pop("staged/seed/delta")), "its 'delta' of 12 numbers has nothing as seed"),
    "not finite": (
        forged(lambda each: each.update({"staged/values/delta": np.full(4, np.inf, np.float32)})),
        "Its vector 'delta' is not finite",
    ),
    "a weight of its own making": (
        forged(lambda each: each.update({"weight/delta": np.full(1, 1e300)})),
        "Its vector 'delta', times its weight, reaches",
    ),
    "a code beside the code": (
        forged(lambda each: each.update({"code": np.zeros(3, np.uint8)})),
        "its 'code' did not go through the stages of this link",
    ),
    "in a code without being sent through it": (
        replace(good(9), code=b"nonsense").to_arrays(),
        "did not go through the stages of this link",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_rubbish_is_refused_and_the_codes_of_the_others_are_added(what: str, tmp_path: Path) -> None:
    around = links()
    runner = aggregator(tmp_path, around)
    rubbish, words = HOSTILE[what]
    write_arrays(tmp_path / "bad", rubbish)
    for i in range(3):
        write_arrays(tmp_path / f"u{i}", sent(good(i), around, i))
    them = (FoldInput("bad", 0, "eve"), *members(3))
    done = ask(runner, Merge("cloud#1", them, ROUND), tmp_path)
    assert [place for place, _ in done.refused] == [0]
    assert words in done.refused[0][1]
    up = decoded(read_update(path(tmp_path, "cloud#1"), stages=CODE), CODE)
    wanted = summed([read_update(path(tmp_path, f"u{i}"), stages=CODE) for i in range(3)], CODE)
    assert isinstance(up, Partial)
    np.testing.assert_allclose(up.sums["delta"], wanted.sums["delta"], atol=1e-4)


def test_another_seed_than_that_of_the_round_gets_in_and_spoils_nothing(tmp_path: Path) -> None:
    """Anybody may claim any seed: it is added apart, and what is lost of the sum in the round's code is its alone."""
    around = links()
    runner = aggregator(tmp_path, around)
    write_arrays(tmp_path / "bad", forged(lambda each: each.update({"staged/seed/delta": np.array([-7])})))
    for i in range(3):
        write_arrays(tmp_path / f"u{i}", sent(good(i), around, i))
    assert ask(runner, Merge("cloud#1", (FoldInput("bad", 0, "eve"), *members(3)), ROUND), tmp_path).refused == ()
    up = decoded(read_update(path(tmp_path, "cloud#1"), stages=CODE), CODE)
    honest = summed([read_update(path(tmp_path, f"u{i}"), stages=CODE) for i in range(3)], CODE)
    eve = decoded(read_update(path(tmp_path, "bad"), stages=CODE), CODE)
    assert isinstance(up, Partial)
    assert isinstance(eve, Update)
    off = up.sums["delta"] - honest.sums["delta"]
    assert np.abs(off).max() <= 10.0 * np.abs(eve.vectors["delta"]).max() + 1e-4


@KINDS
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_bytes_in_a_code_are_refused_or_leave_the_sum_finite(stages: Pipeline, data: st.DataObject) -> None:
    around = links(stages)
    message, honest = sent(good(9), around, 9), decoded_update(sent(good(1), around, 1), stages)
    name = data.draw(st.sampled_from([name for name in message if message[name].size]))
    drawn = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).bytes(message[name].nbytes)
    message[name] = np.frombuffer(drawn, message[name].dtype)
    fold = Groups(make("fedavg"), SPEC, links=around).fold(stays_coded=False)
    with contextlib.suppress(StageError, UnusableUpdateError):
        fold.take((0,), ((decoded_update(message, stages), 1.0),))
    fold.take((1,), ((honest, 1.0),))
    folded, refused = fold.close(merge=False)
    assert set(refused) <= {0}
    assert isinstance(folded, Folded)
    assert all(np.isfinite(total).all() for total in folded.sums.values())

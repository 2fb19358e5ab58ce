"""An aggregator's numbers in blocks are those of the whole, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fogline.aggregation import Update
from fogline.aggregation.look import MeanLook
from fogline.aggregation.rules import make_rule
from fogline.algorithms import METHODS, Algorithm, FedAvg, make
from fogline.algorithms import group as groups
from fogline.compute import column_blocks
from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.effects import Sift
from fogline.compute.files import write
from fogline.compute.groups import Groups
from fogline.compute.links import NodeLinks
from fogline.compute.messages import NONE, Message
from fogline.nodes.effects import Adopt, FoldInput, GroupUpdate, Merge, Move
from fogline.params import Entry, Params, Spec, State, Vector, map_arrays, write_arrays
from fogline.stages import LinkContext, pipeline
from fogline.training.method import overrides
from fogline.training.phase import Phases
from fogline.training.plan import Plan
from tests.compute.asking import ask

TRAINED, BUFFERS = 1000, 60
SPEC = Spec.of(
    [
        Entry("w", (TRAINED,), "float32"),
        Entry("b", (BUFFERS,), "float32", role="buffer"),
        Entry("c", (2,), "int64", role="buffer"),
    ]
)
LARGE = Spec.of([Entry("w", (column_blocks.LARGE,), "float32")])


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_blocks, "BLOCK", 128)


def update_of(algorithm: Algorithm, seed: int) -> Update:
    rng = np.random.default_rng(seed)
    start, end = (rng.normal(size=TRAINED).astype(np.float32) for _ in range(2))
    received = groups.send_down(algorithm, groups.root(Params.zeros(SPEC))).received
    device: Any = SimpleNamespace(model=start, start=start, end=end, local={}, received=received, spec=SPEC)
    device.client = device.name = f"client-{seed}"
    device.plan = Plan(5 + seed, 10 + seed, 0.1)
    device.examples = SimpleNamespace(y=np.zeros(3, np.int64))
    device.local = algorithm.prepare(device)
    if overrides(algorithm, "phases"):
        device.private_names, device.shared_names = (), ("w",)
        device.local = kept_after(algorithm.phases(device), end, device.local)
    report = algorithm.report(device)
    vectors = {name: term.vector for name, term in report.terms.items()}
    weights = {name: term.weight for name, term in report.terms.items()}
    vectors["buffers"], weights["buffers"] = rng.normal(size=BUFFERS).astype(np.float32), 10.0
    return Update(vectors, weights, np.array([seed, 1], np.int64))


def kept_after(phases: Phases, end: Vector, before: State) -> State:
    """What a device keeps after phases that all end there."""
    try:
        next(phases)
        while True:
            phases.send(end)
    except StopIteration as over:
        return before if over.value is None else over.value


def runners(algorithm: Algorithm, rule: str) -> tuple[GroupsOnFiles, GroupsOnFiles]:
    """One that works on the model as a whole, and one that does in blocks."""
    made = Groups(algorithm, SPEC, make_rule(rule))
    return GroupsOnFiles(made, blocks=False), GroupsOnFiles(made, blocks=True)


def same(one: Path, other: Path) -> None:
    first, second = map_arrays(one), map_arrays(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.mark.parametrize("name", [name for name in METHODS if column_blocks.suits(make(name), LARGE)])
@pytest.mark.parametrize("rule", ["mean", "exact", "median", "trimmed_mean(0.4)"])
def test_blocks_give_the_bits_of_the_whole(name: str, rule: str, tmp_path: Path) -> None:
    algorithm = make(name)
    whole, parts = runners(algorithm, rule)
    merges = not make_rule(rule).needs_all
    initial = Params.zeros(SPEC)
    initial.vector[:] = np.random.default_rng(9).normal(size=SPEC.floats)
    members = tuple(FoldInput(f"u{i}", i, f"client-{i}") for i in range(3))
    for folder, runner in ((tmp_path / "a", whole), (tmp_path / "b", parts)):
        folder.mkdir()
        runner.begin(groups.root(initial), str(folder / "m0-group"), str(folder / "m0"), "m0")
        for i in range(3):
            write(str(folder / f"u{i}"), update_of(algorithm, i))
        ask(runner, Adopt("m0", None, "m1"), folder)
        ask(runner, Move("m1", "m2", members, True, 0, True), folder, 0, 5)
        ask(runner, Move("m2", "m3", members[:2], True, 0, True), folder, 1, 5)
        ask(runner, GroupUpdate("m3", "up"), folder)
        ask(runner, Adopt("m0", "m3", "m4"), folder)
        if merges:
            ask(runner, Merge("merged", members), folder)
        top = (FoldInput("merged" if merges else "up", 0, "fog"), *members[:1])
        ask(runner, Move("m0", "m5", top, False, 0, True), folder, 0, 5)
        ask(runner, Move("m5", "m6", members, False, 0, True), folder, 1, 5)
    models = [f"m{i}{what}" for i in range(7) for what in ("", "-group")]
    for what in (*models, "up", *(["merged"] if merges else [])):
        same(tmp_path / "a" / what, tmp_path / "b" / what)


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize(
    "rule",
    [
        "krum(f=2)",
        "bulyan(f=1)",
        "flame(noise=0.5)",
        "fltrust('u3')",
        ["nnm(f=2)", "median"],
        ["bucketing", "dnc(f=1)"],
        "centered_clipping(2.0, iterations=2)",
    ],
)
def test_rules_decide_by_wholes_and_combine_in_blocks(rule: str | list[str], staged: bool, tmp_path: Path) -> None:
    algorithm = make("scaffold")
    made = Groups(algorithm, SPEC, make_rule(rule))
    stages = pipeline(("int8",)) if staged else NONE
    initial = groups.root(Params.zeros(SPEC))
    members = tuple(FoldInput(f"u{i}", 0, f"u{i}") for i in range(9))
    for folder, blocks in ((tmp_path / "a", False), (tmp_path / "b", True)):
        folder.mkdir()
        runner = GroupsOnFiles(made, blocks, NodeLinks(takes=stages))
        runner.begin(initial, str(folder / "m0-group"), str(folder / "m0"), "m0")
        for i in range(9):
            update = update_of(algorithm, i)
            if i == 5 and not staged:
                update.vectors["delta"][TRAINED - 3] = np.nan
            sent = Message.of_update(update).encoded(stages, {}, LinkContext(i))[0] if staged else update.to_arrays()
            write_arrays(folder / f"u{i}", sent)
        done = ask(runner, Move("m0", "m1", members, False, 0, False), folder, 0, 9)
        assert [place for place, _ in done.refused] == ([] if staged else [5])
        ask(runner, Move("m1", "m2", members[2:], False, 1, False), folder, 1, 9)
    for model in ("m1", "m2"):
        same(tmp_path / "a" / f"{model}-group", tmp_path / "b" / f"{model}-group")


def test_a_round_with_fewer_than_a_rule_needs_moves_nothing(tmp_path: Path) -> None:
    algorithm = make("fedavg")
    for blocks in (False, True):
        runner = GroupsOnFiles(Groups(algorithm, SPEC, make_rule("krum(f=2)")), blocks)
        runner.begin(groups.root(Params.zeros(SPEC)), str(tmp_path / "m0-group"), str(tmp_path / "m0"), "m0")
        for i in range(6):
            write(str(tmp_path / f"u{i}"), update_of(algorithm, i))
        members = tuple(FoldInput(f"u{i}", 0, f"u{i}") for i in range(6))
        done = ask(runner, Move("m0", "m1", members, False, 0, False), tmp_path, 0, 6)
        assert [place for place, _ in done.refused] == [*range(6)]
        assert all("Krum(f=2, neighbours=0) needs 7 updates, and 6 can be used" in why for _, why in done.refused)
        same(tmp_path / "m0-group", tmp_path / "m1-group")


def test_an_update_that_is_not_finite_in_one_block_counts_in_none(tmp_path: Path) -> None:
    algorithm = make("fedavg")
    good, bad = update_of(algorithm, 1), update_of(algorithm, 2)
    bad.vectors["delta"][TRAINED - 3] = np.nan
    whole, parts = runners(algorithm, "mean")
    for name, update in (("good", good), ("bad", bad)):
        write(str(tmp_path / name), update)
    write(str(tmp_path / "short"), Update({"delta": good.vectors["delta"][:-1]}, {"delta": 1.0}, good.counters))
    (tmp_path / "junk").write_bytes(b"no safetensors at all")
    members = tuple(FoldInput(name, 0, name) for name in ("good", "bad", "short", "junk"))
    one = ask(whole, Merge("a", members), tmp_path)
    other = ask(parts, Merge("b", members), tmp_path)
    assert [members[place].child for place, _ in other.refused] == ["bad", "short", "junk"]
    assert [members[place].child for place, _ in one.refused] == ["bad", "short", "junk"]
    same(tmp_path / "a", tmp_path / "b")


def test_blocks_suit_a_large_model_of_a_method_that_is_columnwise() -> None:
    class Heir(FedAvg):
        def evaluation_model(self, model: Vector, state: State) -> Vector:
            return model / np.linalg.norm(model)

    assert column_blocks.suits(make("fedavg"), LARGE)
    assert not column_blocks.suits(Heir(), LARGE)
    assert not column_blocks.suits(make("fedexp"), LARGE)
    assert not column_blocks.suits(make("heterofl"), LARGE)  # Its devices' updates are laid out over the whole model.
    assert not column_blocks.suits(make("fedavg"), SPEC)


@pytest.mark.parametrize("rule", ["multi_krum(f=1)", "trimmed_mean(0.2)", ["nnm(f=1)", "median"]], ids=str)
def test_blocks_and_the_whole_use_the_same_of_each_update(rule: str, tmp_path: Path) -> None:
    made, found = Groups(make("fedavg"), SPEC, make_rule(rule)), list[Sequence[tuple[int, float]]]()
    members = tuple(FoldInput(f"u{i}", 0, f"client-{i}") for i in range(6))
    for blocks in (False, True):
        runner, folder = GroupsOnFiles(made, blocks=blocks, rates=True), tmp_path / str(blocks)
        folder.mkdir()
        runner.begin(groups.root(Params.zeros(SPEC)), str(folder / "m0-group"), str(folder / "m0"), "m0")
        for i in range(6):
            update = update_of(make("fedavg"), i)
            update.vectors["delta"] += 20.0 * (i == 4)
            write(str(folder / f"u{i}"), update)
        found.append(ask(runner, Move("m0", "m1", members, False, 0, True), folder, 0, 6).scores)
    whole, parts = found
    assert [place for place, _ in whole] == list(range(6))
    assert dict(whole) == pytest.approx(dict(parts))
    assert min(whole, key=lambda one: one[1])[0] == 4


@pytest.mark.parametrize("bad", [False, True])
def test_updates_are_looked_at_in_blocks(bad: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a fog with 200 MB would need room for whole models, just to tell whether they can be folded."""
    seen: list[int] = []
    accumulate = MeanLook.accumulate

    def watched(self: MeanLook, name: str, vector: Any, factor: float, top: float) -> None:
        seen.append(vector.size)
        accumulate(self, name, vector, factor, top)

    monkeypatch.setattr(MeanLook, "accumulate", watched)
    algorithm = make("fedavg")
    _, runner = runners(algorithm, "mean")
    members = tuple(FoldInput(f"u{i}", 0, f"client-{i}") for i in range(3))
    for i in range(3):
        update = update_of(algorithm, i)
        if bad and i == 1:
            update.vectors["delta"][-1] = np.nan
        write(str(tmp_path / f"u{i}"), update)
    refused = runner.sift(Sift(members, {member.update: str(tmp_path / member.update) for member in members})).refused
    assert [place for place, _ in refused] == ([1] if bad else [])
    assert seen
    assert max(seen) <= column_blocks.BLOCK < TRAINED

"""What cannot be folded is refused in simulation and on nodes alike: the same updates, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fogline.aggregation import Update, fold_named
from fogline.aggregation.rules import Rule, make_rule
from fogline.algorithms import group as group_models
from fogline.algorithms import make
from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.effects import Sift
from fogline.compute.files import read_group, write
from fogline.compute.folding import FormCheck
from fogline.compute.groups import Groups
from fogline.nodes.effects import FoldInput, Merge, Move
from fogline.simulation.numbers import Numbers
from fogline.simulation.values import LazyValue, LazyValues
from fogline.user_code.bugs import CodeError
from tests.compute.asking import ask, path
from tests.toy import SPEC, ToyTask

N, BUFFERS = SPEC.trainable, SPEC.floats - SPEC.trainable


def good(seed: int = 0) -> Update:
    rng = np.random.default_rng(seed)
    vectors = {"delta": rng.normal(size=N).astype(np.float32), "buffers": np.ones(BUFFERS, np.float32)}
    return Update(vectors, {"delta": 10.0, "buffers": 10.0}, np.full(SPEC.integers, seed, np.int64))


def changed(change: Callable[[Update], object]) -> Update:
    update = good(9)
    change(update)
    return update


def of_another_fold(exact: bool) -> object:
    fold = fold_named(not exact)
    fold.add(good(9))
    return fold.partial()


def filled(number: float) -> Update:
    return changed(lambda u: u.vectors["delta"].fill(number))


def sized(name: str, *shape: int) -> Update:
    return changed(lambda u: u.vectors.update({name: np.ones(shape, np.float32)}))


BAD = {
    "not a number": (filled(np.nan), "Its vector 'delta' is not finite: number 0 of 12 is nan."),
    "infinite": (filled(np.inf), "Its vector 'delta' is not finite: number 0 of 12 is inf."),
    "too large": (filled(3e38), "Its vector 'delta', times its weight, reaches"),
    "too short": (sized("delta", N - 1), "Its vector 'delta' has shape (11,) where the model has (12,)."),
    "stretched": (sized("delta", 1), "Its vector 'delta' has shape (1,) where the model has (12,)."),
    "a table": (sized("delta", 3, 4), "Its vector 'delta' has shape (3, 4) where the model has (12,)."),
    "long buffers": (sized("buffers", 9), "Its vector 'buffers' has shape (9,) where the model has (4,)."),
    "no buffers": (
        changed(lambda u: (u.vectors.pop("buffers"), u.weights.pop("buffers"))),
        "It has no vector 'buffers', of which the model has 4 numbers.",
    ),
    "another name": (
        Update({"dleta": np.ones(N, np.float32)}, {"dleta": 1.0}, np.zeros(1, np.int64)),
        "It has no vector 'buffers', of which the model has 4 numbers.",
    ),
    "weighs less than nothing": (
        changed(lambda u: u.weights.update(delta=-1.0)),
        "Its vector 'delta' has weight -1.0 and counts",
    ),
    "other counters": (
        changed(lambda u: setattr(u, "counters", np.zeros(7, np.int64))),
        "It has counters of shape (7,) where the model has (1,).",
    ),
}


def in_simulation(groups: Groups, updates: list[Update], merge: bool = False) -> tuple[list[tuple[str, str]], object]:
    """What is refused, and what comes of the rest."""
    refused: list[tuple[str, str]] = []
    numbers = Numbers({"cloud": groups}, {"cloud": 5}, lambda child, why: refused.append((child, why)))
    numbers.set_group("cloud@0", LazyValue(group_models.root(ToyTask().initial(0))))
    for i, update in enumerate(updates):
        numbers.updates[f"u{i}"] = LazyValue(update)
    if merge:
        numbers.merge("cloud", Merge("merged", members(len(updates))))
        made = numbers.updates["merged"]
    else:
        made, _ = numbers.move("cloud", Move("cloud@0", "cloud@1", members(len(updates)), False, 0, True))
    LazyValues(None, lambda _, __: None).force([made])  # type: ignore[arg-type]
    return refused, made.result


def on_files(
    groups: Groups, updates: list[Update], folder: Path, blocks: bool, sift: bool = True
) -> tuple[list[tuple[str, str]], object]:
    """The same as a node has it."""
    runner = GroupsOnFiles(groups, blocks)
    first = group_models.root(ToyTask().initial(0))
    runner.begin(first, path(folder, "cloud@0/group"), path(folder, "cloud@0"), "cloud@0")
    for i, update in enumerate(updates):
        write(str(folder / f"u{i}"), update)
    them = members(len(updates))
    sifted = runner.sift(Sift(them, {member.update: path(folder, member.update) for member in them}))
    done = ask(runner, Move("cloud@0", "cloud@1", them, False, 0, True), folder, 0, 5)
    if sift:
        assert sifted.refused == done.refused
    return [(them[i].child, why) for i, why in done.refused], read_group(path(folder, "cloud@1/group"))


def members(count: int) -> tuple[FoldInput, ...]:
    return tuple(FoldInput(f"u{i}", 0, f"client-{i}") for i in range(count))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("bad", [*BAD, "of the other fold"])
def test_simulation_and_nodes_refuse_alike(bad: str, place: int, exact: bool, tmp_path: Path) -> None:
    groups = Groups(make("fedavg"), SPEC, make_rule("exact" if exact else "mean"))
    one, words = BAD.get(bad, (of_another_fold(exact), "Its sum 'buffers' "))
    updates = [good(1), good(2)]
    updates.insert(place, one)  # type: ignore[arg-type]
    refused, group = on_files(groups, [_copy(u) for u in updates], tmp_path, blocks=False)
    assert [child for child, _ in refused] == [f"client-{place}"]
    assert words in refused[0][1]
    same_refused, same_group = in_simulation(groups, updates)
    assert same_refused == refused
    for name, array in group.to_arrays().items():  # type: ignore[attr-defined]
        np.testing.assert_array_equal(array, same_group.to_arrays()[name])  # type: ignore[attr-defined]


def test_every_movement_that_a_pattern_names_must_fit_the_model() -> None:
    check = FormCheck("delta-*", SPEC).misfit
    buffers = "buffers", (BUFFERS,)
    assert check(((SPEC.integers,), *buffers, "delta-3", (N,))) is None
    words = f"Its vector 'delta-3' has shape (1,) where the model has ({N},)."
    assert check(((SPEC.integers,), *buffers, "delta-3", (1,))) == words
    assert check(((SPEC.integers,), *buffers, "other", (1,))) is None


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad != "a table"])
def test_blocks_refuse_alike(bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fogline.compute.column_blocks.BLOCK", 5)
    groups = Groups(make("fedavg"), SPEC)
    refused, _ = on_files(groups, [BAD[bad][0], good(1), good(2)], tmp_path, blocks=True)
    assert [child for child, _ in refused] == ["client-0"]


@pytest.mark.parametrize("blocks", [False, True])
def test_who_comes_first_does_not_decide_and_nor_does_who_is_alone_with_the_model(blocks: bool, tmp_path: Path) -> None:
    """Three of four bring what would be stretched over the model: theirs is what is refused."""
    groups = Groups(make("fedavg"), SPEC)
    updates = [*(sized("delta", 1) for _ in range(3)), good(1)]
    refused, group = on_files(groups, updates, tmp_path, blocks)
    assert [child for child, _ in refused] == ["client-0", "client-1", "client-2"]
    assert in_simulation(groups, updates)[0] == refused
    assert np.ptp(group.vector[:N]) > 0  # type: ignore[attr-defined]


def test_where_nothing_can_be_used_the_group_stays_and_there_is_nothing_for_the_parent(tmp_path: Path) -> None:
    groups = Groups(make("fedavg"), SPEC)
    updates = [filled(np.nan), sized("delta", 1)]
    _, stays = on_files(groups, updates, tmp_path, blocks=False)
    np.testing.assert_array_equal(stays.vector, ToyTask().initial(0).vector)  # type: ignore[attr-defined]
    assert in_simulation(groups, [_copy(u) for u in updates], merge=True)[1] is None
    for i, update in enumerate(updates):
        write(str(tmp_path / f"u{i}"), update)
    done = ask(GroupsOnFiles(groups, blocks=False), Merge("merged", members(2)), tmp_path)
    assert done.made == ()
    assert len(done.refused) == 2


@pytest.mark.parametrize("blocks", [False, True])
def test_a_node_outlives_what_an_update_makes_a_hook_do_and_a_simulation_names_it(blocks: bool, tmp_path: Path) -> None:
    """On nodes anybody may have sent it; in a simulation whoever writes the method wants to see it."""
    groups = Groups(make("fedavg"), SPEC)
    updates = [changed(lambda u: u.weights.update(delta=0.0))]
    refused, group = on_files(groups, updates, tmp_path, blocks, sift=False)
    ((child, why),) = refused
    assert child == "client-0"
    assert why.startswith(
        "the round's updates cannot be used: FedAvg.server_update raised ValueError: The updates' weig"
    )
    np.testing.assert_array_equal(group.vector, ToyTask().initial(0).vector)  # type: ignore[attr-defined]
    with pytest.raises(CodeError, match=r"^cloud, round 1: FedAvg.server_update raised ValueError"):
        in_simulation(groups, updates)


class Sums(Rule):
    """An honest rule that overflows where updates are huge."""

    def combine(self, block: np.ndarray, weights: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return block.sum(axis=0)


def test_what_overflows_in_an_honest_rule_is_refused_in_simulation_and_on_nodes(tmp_path: Path) -> None:
    groups = Groups(make("fedavg"), SPEC, Sums())
    updates = [filled(3e38), filled(2e38), good(1)]
    refused, group = on_files(groups, [_copy(u) for u in updates], tmp_path, blocks=False, sift=False)
    assert [child for child, _ in refused] == ["client-0", "client-1", "client-2"]
    assert refused[0][1].startswith("Of updates as large as 3e+38 the tier's rule gives 'delta' with 12 of 12 numbers")
    assert in_simulation(groups, updates)[0] == refused
    np.testing.assert_array_equal(group.vector, ToyTask().initial(0).vector)  # type: ignore[attr-defined]


def _copy(update: Update) -> Update:
    return type(update).from_arrays({name: array.copy() for name, array in update.to_arrays().items()})


@pytest.mark.parametrize("name", ["client-1", ""])
def test_what_a_device_sends_under_the_name_of_another_or_of_a_fog_is_refused(name: str, tmp_path: Path) -> None:
    """Else it would write what is remembered of the other; and what bears a fog's name puts all others aside."""
    groups = Groups(make("ca2fl"), SPEC, own_prefix=make("ca2fl").own_prefix)
    updates = [_named(good(i), sender) for i, sender in enumerate(("client-0", "client-1", name))]
    refused, group = on_files(groups, updates, tmp_path, blocks=False)
    assert refused == [("client-2", f"Its vector 'update-{name}' is not under the name of client-2, who sent it.")]
    kept = {key for key in group.to_arrays() if key.startswith("state/kept-")}  # type: ignore[attr-defined]
    assert kept == {"state/kept-client-0", "state/kept-client-1"}


def _named(update: Update, sender: str) -> Update:
    vectors = {f"update-{sender}": update.vectors["delta"], "buffers": update.vectors["buffers"]}
    return Update(vectors, dict.fromkeys(vectors, 1.0), update.counters)

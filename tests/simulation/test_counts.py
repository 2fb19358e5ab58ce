"""Failed devices, minimums and rounds that do not count, in simulations of every shape."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
from torch import nn

import fogline
from fogline.algorithms import ClientUpdate, Weighted
from fogline.cli.commands.simulation import check_rounds
from fogline.cli.failures import RoundsLostError
from fogline.data import Examples, from_clients
from fogline.jobs import Job
from fogline.jobs.files.reading import parse_job
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.history import Attendance
from fogline.monitoring.mishaps import DISTINCT, Mishaps
from fogline.monitoring.progress import Silent
from fogline.nodes.policies.rotation import turn_of
from fogline.simulation.run import run
from fogline.training.context import DeviceContext


class Told(Silent):
    """Keeps what people should know."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


LOOP = {"local": {"learning_rate": 0.5}, "processes": 0, "progress": False, "engine": "loop"}


def examples(seed: int, n: int = 30, scale: float = 1.0) -> Examples:
    x = (scale * np.random.default_rng(seed).normal(size=(n, 4))).astype(np.float32)
    return Examples(x, (x[:, 0] > 0).astype(np.int64))


def task(good: int = 1, wild: int = 0) -> fogline.Task:
    """Clients whose training succeeds, and others with ten times the examples whose training overflows."""
    clients = {f"good-{i}": examples(i) for i in range(good)}
    clients |= {f"wild-{i}": examples(100 + i, 300, 1e25) for i in range(wild)}
    return fogline.Task(lambda: nn.Linear(4, 2), from_clients("d", clients, classes=2, test=examples(99, 200)))


TREES = {
    "star": fogline.Tree(),
    "fog": fogline.Tree(cloud=fogline.Tier(), fog=fogline.Tier()),
    "rounds": fogline.Tree(cloud=fogline.Tier(), fog=fogline.Tier(rounds=2)),
    "oort": fogline.Tree(cloud=fogline.Tier(policy="oort")),
}


@pytest.mark.parametrize("shape", TREES)
def test_a_client_that_fails_does_not_weigh_on_the_mean(shape: str) -> None:
    alone = fogline.simulate(task(1), tree=TREES[shape], rounds=1, **LOOP)
    beside = fogline.simulate(task(1, wild=1), tree=TREES[shape], rounds=1, **LOOP)
    assert np.array_equal(alone.params.vector, beside.params.vector)
    assert beside.counts["failed"] == TREES[shape].tiers[TREES[shape].names[-1]].rounds
    assert [row["devices"] for row in beside.history] == [1]


MODES: dict[str, dict[str, Any]] = {
    "uniform": {},
    "oort": {"policy": "oort"},
    "tifl": {"policy": "tifl"},
    "classes": {"mode": "semi-async", "speed_classes": 1},
    "ring": {"mode": "ring"},
}


# What the legs of a lap did to a fog's model is reported in any case.
@pytest.mark.parametrize(
    ("mode", "below"), [(mode, below) for mode in MODES for below in (False, True) if not (below and mode == "ring")]
)
def test_a_round_in_which_most_devices_fail_does_not_count(mode: str, below: bool) -> None:
    tier = fogline.Tier(quorum=0.5, **MODES[mode])
    tree = fogline.Tree(cloud=fogline.Tier(), fog=tier) if below else fogline.Tree(cloud=tier)
    with pytest.raises(fogline.RunError) as caught:
        fogline.simulate(task(1, wild=3), tree=tree, rounds=3, **LOOP)
    assert f"{caught.value.mishaps.counts['failed']:,} times nodes failed" in str(caught.value)
    assert caught.value.mishaps.counts["abandoned"] >= 3
    assert fogline.simulate(task(3, wild=1), tree=tree, rounds=2, **LOOP).history[-1]["devices"] == 3


def test_reasons_add_up_to_how_often_devices_failed() -> None:
    mishaps = Mishaps()
    for why, amount in (("a", 3), ("b", 2), ("c", 2), ("d", 1), ("", 4)):
        mishaps.count("failed", "client-0", why, amount)
    assert "12 times nodes failed (3 × a; 2 × b; 2 × c; 5 × other reasons)." in mishaps.nothing_learned(1)
    assert mishaps.told("refused") == ""


def test_an_async_round_counts_those_that_succeeded() -> None:
    tree = fogline.Tree(cloud=fogline.Tier(buffer=2, quorum=2))
    result = fogline.simulate(task(3, wild=2), "fedbuff", tree, rounds=6, **LOOP)
    assert [row["devices"] for row in result.history] == [2] * 6
    assert result.counts["failed"] > 0
    with pytest.raises(fogline.RunError, match="No round of 4 counted"):
        fogline.simulate(task(0, wild=3), "fedbuff", tree, rounds=4, **LOOP)


def test_a_run_goes_on_where_rounds_failed_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    """Quorum and failures are repeated from the checkpoint, also the update that an abandoned round left waiting."""
    tree = fogline.Tree(cloud=fogline.Tier(quorum=0.5), fog=fogline.Tier(count=2, quorum=1.0))
    made = task(5, wild=1)
    settings = {"tree": tree, "rounds": 4, "engine": "loop", "chunk": 2, "processes": 0, "checkpoint_every": 1}
    whole = run(Job.model_validate(settings), made, progress=False)
    assert whole.counts["failed"] == 4 + 4  # A device of one fog, and that fog.
    half = Job.model_validate(settings | {"rounds": 2})
    with RunFolder.create(tmp_path / "run", half) as kept:
        run(half, made, kept, progress=False)
    with RunFolder.reopen(tmp_path / "run", changed=True) as kept:
        resumed = run(Job.model_validate(settings), made, kept, progress=False)
    assert np.array_equal(resumed.params.vector, whole.params.vector)
    assert resumed.counts == whole.counts


def test_devices_and_cohorts_below_the_minimum_are_refused_in_a_sentence() -> None:
    tree = fogline.Tree(minimum=5)
    with pytest.raises(fogline.JobError, match=r"tree\.minimum is 5, but a round has at most the 3 of its 3 clients"):
        fogline.simulate(task(3), tree=tree, rounds=1, **LOOP)
    with pytest.raises(fogline.JobError, match=r"the 2 that its cohorts let in \(of 8\); make it at most 2\."):
        fogline.simulate(task(8), tree=fogline.Tree(cloud=fogline.Tier(cohort=0.25), minimum=5), rounds=1, **LOOP)
    for text, why in (
        ("[tree]\nminimum = 3\n[tree.cloud]\ncohort = 2", "let at most 2 devices into a round"),
        ('[tree]\nminimum = 3\n[tree.cloud]\nmode = "ring"', "in ring mode every device moves the model alone"),
        ("[tree.cloud]\ncohort = 2\nquorum = 3", "quorum is 3, but a round asks only 2"),
        ("[tree]\nminimum = 0", "tree.minimum is 0; it must be at least 1"),
    ):
        with pytest.raises(fogline.JobError, match=why):
            parse_job(text)
    assert parse_job("", ["tree.minimum=4"]).tree.minimum == 4


def test_rounds_below_the_minimum_are_abandoned() -> None:
    with pytest.raises(fogline.RunError, match="the job's minimum is 3"):
        fogline.simulate(task(2, wild=2), tree=fogline.Tree(minimum=3), rounds=2, **LOOP)
    result = fogline.simulate(task(3, wild=1), tree=fogline.Tree(minimum=3), rounds=2, **LOOP)
    assert [row["devices"] for row in result.history] == [3, 3]


def test_rounds_that_came_to_nothing_are_told_and_end_with_a_status(tmp_path: Path) -> None:
    """Nobody's turn comes in one round of three, which was known before."""
    rotation = fogline.Tier(policy="rotation", policy_parameters={"period": 3}, deadline=5)
    given = {"tree": fogline.Tree(cloud=rotation), "rounds": 7, "engine": "loop", "processes": 0}
    told = Told()
    with RunFolder.create(tmp_path / "run", Job.model_validate(given)) as kept:
        result = run(Job.model_validate(given), task(2), kept, progress=told)
        loaded = kept.load()
    empty = set(range(3)) - {turn_of(f"good-{i}", 3) for i in range(2)}
    counted = [i + 1 for i in range(7) if i % 3 not in empty]
    assert [row["round"] for row in result.history] == counted
    assert result.lost_rounds == loaded.lost_rounds == 7 - len(counted) > 0
    assert f"{7 - len(counted)} of 7 rounds came to nothing" in loaded.summary()
    assert any(f"Of every 3 rounds of cloud, {len(empty)} will come to nothing" in note for note in told.notes)
    with pytest.raises(RoundsLostError, match=r"of 7 rounds came to nothing .*nobody could be asked") as ended:
        check_rounds(loaded)
    assert ended.value.exit_code == 3


def test_a_run_that_was_ended_early_has_lost_no_round() -> None:
    result = fogline.simulate(
        task(1), rounds=5, on_round=lambda row, *_: fogline.STOP if row["round"] == 2 else None, **LOOP
    )
    assert (len(result.history), result.lost_rounds) == (2, 0)
    check_rounds(result)


def test_a_round_of_fewer_devices_than_any_before_is_told_once() -> None:
    told = Attendance()
    counts = [5, 4, 5, 4, 3, 4, 3]
    said = [bool(told.saw({"round": i, "devices": count})) for i, count in enumerate(counts, 1)]
    assert said == [False, True, False, False, True, False, False]
    warning = Attendance([{"round": 1, "devices": 4}]).saw({"round": 2, "devices": 1})
    assert "1 device, the fewest so far; the round before of 4" in warning


class Far(fogline.FedAvg):
    """Each alone fits into a sum, and no two do."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate({"delta": Weighted(np.full(device.model.size, 2e38, np.float32), 1.0)}, device.local)


class FarInside(fogline.FedAvg):
    """The same of fogs that have moved."""

    def group_update(self, start: Any, delta: Any, weight: Any, totals: Any) -> Any:
        return {"delta": Weighted(np.full(start.size, 2e38, np.float32), 1.0)}


@pytest.mark.parametrize(
    ("tree", "method"),
    [
        (fogline.Tree(cloud=fogline.Tier(quorum=2)), Far()),
        (fogline.Tree(cloud=fogline.Tier(quorum=2, policy="oort")), Far()),
        (fogline.Tree(cloud=fogline.Tier(quorum=2), fog=fogline.Tier(count=2)), Far()),
        (fogline.Tree(cloud=fogline.Tier(quorum=2), fog=fogline.Tier(count=2, rounds=2)), FarInside()),
        (fogline.Tree(cloud=fogline.Tier(), fog=fogline.Tier(quorum=2), edge=fogline.Tier(count=2)), Far()),
    ],
)
def test_what_does_not_fit_beside_the_others_counts_for_no_quorum_in_any_tier(
    tree: fogline.Tree, method: fogline.FedAvg
) -> None:
    with pytest.raises(fogline.RunError, match=r"1 report, the quorum is 2") as caught:
        fogline.simulate(task(2), method, tree, rounds=2, **LOOP)
    assert "the fold overflows" in str(caught.value)


@pytest.mark.parametrize("reasons", [3, 4, DISTINCT + 2])
def test_the_reasons_that_are_told_add_up_to_all(reasons: int) -> None:
    mishaps = Mishaps()
    for which in range(reasons):
        mishaps.count("failed", why=f"reason {ascii_lowercase[which]}")
    told = mishaps.told("failed")
    assert sum(int(part.split(" × ")[0]) for part in told.split("; ")) == reasons
    assert told.count("other reasons") == (reasons > 3)


def test_reasons_that_differ_in_their_numbers_only_stand_together_where_they_are_many() -> None:
    few, many = Mishaps(), Mishaps()
    for steps in (19, 20):
        few.count("failed", f"client-{steps}", f"Client 'client-{steps}': the loss is nan in step 2 of {steps}.")
    assert few.told("failed") == "1 × the loss is nan in step 2 of 19; 1 × the loss is nan in step 2 of 20"
    assert few.reasons["failed"] == "Client 'client-19': the loss is nan in step 2 of 19."
    for steps in range(100, 100 + 2 * DISTINCT):
        many.count("failed", why=f"the loss is nan in step 2 of {steps:,}.5.")
    many.count("failed", why="it has no examples", amount=2)
    assert many.told("failed") == (
        f"{2 * DISTINCT} × the loss is nan in step 2 of 100.5 (the numbers differ); 2 × other reasons"
    )


def test_a_fog_below_which_nothing_counted_is_no_device() -> None:
    with pytest.raises(fogline.RunError) as caught:
        fogline.simulate(task(0, wild=2), tree=TREES["fog"], rounds=2, **LOOP)
    assert "6 times nodes failed (4 × the loss is nan in step 2 of 30; 2 × none of its rounds" in str(caught.value)

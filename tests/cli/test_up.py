"""What ``fogline up`` says of its run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fogline.cli.commands.up.display import Display
from fogline.cli.commands.up.inspect_task import goes_by_the_clock
from fogline.cli.commands.up.plan import PlannedNode, StartPlan
from fogline.cli.commands.up.run import next_steps, repeats
from fogline.cli.commands.up.tree import TreeState
from fogline.jobs import Job, JobError, Tier, Tree
from fogline.monitoring.result import Result
from fogline.network.node.status import StatusChange
from fogline.params import Entry, Params, Spec

NODES = tuple(PlannedNode(f"client-{i}", "device", "cloud", f"client-{i}") for i in range(2))


def made(counts: dict[str, int] | None = None) -> tuple[StartPlan, Result, TreeState]:
    """A run in which nothing happened but what is counted."""
    job = Job(name="toy", task="small:task", rounds=1)
    spec = Spec.of([Entry("w", (1,), "float32")])
    params = Params(spec, np.zeros(1, np.float32), np.zeros(0, np.int64))
    result = Result(
        job=job, headline="accuracy", params=params, history=[], metrics={}, reached=None, counts=counts or {},
        reasons={}, wall=1.0, units={},
    )  # fmt: skip
    state = TreeState("cloud", job.tree)
    state.add(NODES)
    return StartPlan(job, NODES, planned=True, by_the_clock=False), result, state


def test_a_whole_run_is_that_of_a_simulation() -> None:
    plan, result, state = made()
    for change in ("connected", "training", "idle"):
        state.tell("client-0", StatusChange(change))
    assert repeats(plan, result, state)


def test_a_page_that_ends_with_the_command_is_not_the_last_look() -> None:
    folder = Path("runs/toy-1")
    assert next_steps(folder, repeated=False, board=False) == []
    assert [command for _, command in next_steps(folder, repeated=True, board=True)] == [
        "fogline simulate runs/toy-1/job.toml --engine loop",
        "fogline board runs/toy-1",
    ]


def test_aggregators_are_counted_as_in_a_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    plan, _, state = made()
    fogs = tuple(PlannedNode(f"fog-{i}", "fog", "cloud") for i in range(2))
    below = tuple(replace(node, parent=f"fog-{i}") for i, node in enumerate(NODES))
    with Display(state, quiet=False) as shown:
        shown.began(replace(plan, nodes=(*fogs, *below)), "accuracy", "")
        shown.began(plan, "accuracy", "")
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" on ")[2] for line in said] == [
        "2 devices below 2 aggregators, 1 round, seed 0",
        "2 devices, 1 round, seed 0",
    ]


@pytest.mark.parametrize("what", ["lost", "failed", "refused"])
def test_a_run_that_lost_a_device_is_not_even_if_it_came_back(what: str) -> None:
    plan, result, state = made()
    state.tell("client-1", StatusChange(what))  # type: ignore[arg-type]
    state.tell("client-1", StatusChange("connected"))
    assert not repeats(plan, result, state)


def test_neither_is_one_of_which_updates_were_in_vain_or_that_goes_by_the_clock() -> None:
    plan, result, state = made({"left": 1})
    assert not repeats(plan, result, state)
    plan, result, state = made()
    assert not repeats(replace(plan, by_the_clock=True), result, state)
    assert not repeats(replace(plan, planned=False), result, state)


@pytest.mark.parametrize(
    ("settings", "mode", "clock"),
    [
        ({}, "sync", False),
        ({}, "async", True),
        ({"tree": Tree(cloud=Tier(mode="sync"))}, "async", False),
        ({"tree": Tree(cloud=Tier(cohort=2, policy="weighted", deadline=60))}, "sync", False),
        ({"tree": Tree(cloud=Tier(cohort=2, policy="oort"))}, "sync", True),
        ({"tree": Tree(cloud=Tier(cohort=2, over_selection=1.5))}, "sync", True),
        ({"devices": {"preset": "phones", "dropout": 0.0}, "tree": Tree(cloud=Tier(deadline=60))}, "sync", True),
        ({"devices": {"dropout": 0.1}}, "sync", True),
        ({"devices": {"speed": 10}}, "sync", False),
    ],
)
def test_a_simulation_that_loses_devices_or_goes_by_times_is_not_the_same(
    settings: dict[str, object], mode: str, clock: bool
) -> None:
    assert goes_by_the_clock(Job.model_validate(settings), mode, 4) == clock


def test_devices_that_cannot_be_are_told() -> None:
    with pytest.raises(JobError, match="drop_out"):
        goes_by_the_clock(Job(devices={"drop_out": 0.1}), "sync", 4)

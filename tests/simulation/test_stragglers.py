"""Devices that come late, or never."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from fogline.jobs import Job, JobError, Tier, Tree
from fogline.monitoring.result import Result
from fogline.simulation.run import run
from tests.toy import ToyTask


def run_toy(tree: Tree, devices: dict[str, Any], rounds: int = 12, **changes: Any) -> Result:
    """Twelve devices, in this process."""
    settings = {"rounds": rounds, "processes": 0, "engine": "loop", "chunk": 4, "devices": devices}
    return run(Job.model_validate({"tree": tree, **settings, **changes}), ToyTask(), progress=False)


def takes(seconds: float) -> float:
    """The speed at which a device trains that long on its twenty examples."""
    return 20 * ToyTask().cost / seconds


@pytest.mark.parametrize("late", ["drop", "fold"])
def test_a_model_that_was_sent_arrives_though_the_cloud_has_forgotten_it(late: Literal["drop", "fold"]) -> None:
    """A fog that merges hands the cloud's model on; on a slow link that takes longer than rounds do."""
    tree = Tree(cloud=Tier(quorum=1), fog=Tier(count=2, deadline=2.0, quorum=0.3, late=late))
    result = run_toy(tree, {"down": {"choice": [1e6, 1e6, 1e6, 8.0]}})
    assert "failed" not in result.counts
    if late == "fold":
        assert result.counts == {}
    else:
        assert result.counts["late"] > 10
        assert result.reasons["late"].endswith(": its round was over")


def test_a_device_whose_time_ends_stops_training() -> None:
    """Training takes 50 minutes; all devices are there in the first hour of the day, half of them in the second."""
    hours = [1.0, 0.5] + 22 * [0.0]
    slow = {"speed": takes(50 * 60)}
    tree = Tree(cloud=Tier(deadline=55 * 60, quorum=1))
    whole = run_toy(tree, slow, rounds=2)
    assert whole.counts == {}
    assert whole.history[-1]["seconds"] == pytest.approx(6000, rel=0.1)
    cut = run_toy(tree, {"availability": {"hourly": hours}, **slow}, rounds=2)
    away = cut.counts["went away"]
    assert 0 < away < 12
    assert cut.history[-1]["updates"] == 12 - away
    assert cut.history[-1]["joules"] < whole.history[-1]["joules"]


MODES: dict[str, Tier] = {
    "sync": Tier(),
    "async": Tier(mode="async", buffer=4, cohort=8),
    "semi-async": Tier(mode="semi-async", speed_classes=2),
    "ring": Tier(mode="ring"),
}


@pytest.mark.parametrize("mode", MODES)
def test_without_a_deadline_a_drop_out_costs_no_hour(mode: str) -> None:
    result = run_toy(Tree(cloud=MODES[mode]), {"speed": takes(10.0), "dropout": 0.2}, rounds=20)
    dropped = result.counts["dropped out"]
    assert dropped > 5
    assert "late" not in result.counts
    assert result.history[-1]["round"] == 20
    legs = 12 if mode == "ring" else 1
    assert result.history[-1]["seconds"] < 20 * legs * 31


def test_the_slowest_device_is_waited_for_with_all_its_work() -> None:
    devices = {"speed": {"choice": [takes(1.0), takes(100.0)]}, "dropout": 0.01}
    result = run_toy(Tree(), devices, local={"work": [0.1, 3.0]})
    assert "late" not in result.counts
    assert result.history[-1]["updates"] > 0


def test_who_waits_for_the_morning_does_not_run_out_of_rounds() -> None:
    """Nobody is there before noon; only the wait for those asked is short."""
    hours = 12 * [0.0] + 12 * [1.0]
    result = run_toy(Tree(), {"speed": takes(10.0), "availability": {"hourly": hours}}, rounds=20)
    assert result.counts["abandoned"] < 13
    assert len(result.history) > 7


UNEQUAL = {"tables": [{"speed": [*(takes(10.0) for _ in range(7)), takes(100.0)]}]}
"""Some devices train ten times longer than the others."""


def test_whoever_does_what_it_has_time_for_keeps_no_round_waiting() -> None:
    steps = {"local": {"batch_size": 2}}  # Ten of them.
    whole = run_toy(Tree(), UNEQUAL, **steps)
    partial = run_toy(Tree(cloud=Tier(policy="timelyfl")), UNEQUAL, **steps)
    assert whole.history[-1]["seconds"] > 1000
    assert partial.history[-1]["seconds"] < 400
    assert all(row["updates"] == 12 for row in partial.history)
    assert partial.history[-1]["steps"] < whole.history[-1]["steps"]
    assert partial.metrics["loss"] < whole.history[0]["loss"]


def test_a_learned_deadline_holds_on_every_tier() -> None:
    """One device below each fog is slow."""
    tree = Tree(cloud=Tier(), fog=Tier(count=2, deadline="auto", over_selection="auto", cohort=4), assign="blocks")
    result = run_toy(tree, UNEQUAL)
    ends = [row["seconds"] for row in result.history]
    assert ends[0] > 100  # Nothing is known yet.
    assert ends[-1] - ends[-5] < 80
    assert result.counts["late"] + result.counts["surplus"] + result.counts["superseded"] > 0


@pytest.mark.parametrize(
    ("tree", "more", "said"),
    [
        (
            Tree(cloud=Tier(policy="timelyfl", mode="async")),
            {},
            "the time of a round, and cloud has no rounds",
        ),
        (Tree(cloud=Tier(policy="timelyfl"), fog=Tier(count=2)), {}, "the children are no devices; set it for fog"),
        (
            Tree(cloud=Tier(policy="timelyfl")),
            {"algorithm": {"name": "scaffnew"}},
            "and so does Scaffnew",
        ),
        (Tree(cloud=Tier(policy="timelyfl")), {"privacy": {}}, "set it to 'uniform' or 'rotation'"),
        (Tree(cloud=Tier(deadline="auto")), {"privacy": {}}, "no noise is on that; give numbers"),
    ],
)
def test_what_devices_do_and_how_long_they_are_waited_for_is_refused_where_it_makes_no_sense(
    tree: Tree, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(JobError, match=said):
        run_toy(tree, {}, **more)


def test_a_learned_deadline_and_an_exchange_do_not_go_together() -> None:
    with pytest.raises(JobError, match=r'deadline is "auto".*give seconds'):
        Tier(deadline="auto", exchange="secagg")

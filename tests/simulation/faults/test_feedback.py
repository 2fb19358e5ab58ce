"""What senders remember survives crashes and a change of the fog; and devices with a mistake are caught."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fogline.nodes import Aggregator, AggregatorRole, Device
from fogline.nodes.effects import Effect
from fogline.nodes.events import Trained
from fogline.simulation.faults import FeedbackWorld, InvariantError, SeedOutcome, draw_plan

SEEDS = range(30)
SEEDS_OF_TWO = (218, 1233, 1932)
"""In these a device is in the reports of two fogs for one round."""


def ran(seeds: range, device: type[Device] = Device) -> list[tuple[SeedOutcome, int]]:
    """What came of seeds, and how often a device changed its fog."""
    worlds = [FeedbackWorld(draw_plan(seed), device=device) for seed in seeds]
    return [(world.run(), world.moves) for world in worlds]


def test_all_that_devices_came_to_was_sent_or_is_remembered() -> None:
    outcomes = ran(SEEDS)
    assert sum(outcome.crashes for outcome, _ in outcomes) > 2 * len(SEEDS)
    assert sum(moves for _, moves in outcomes) > 2 * len(SEEDS)


class CountsReports(Aggregator):
    """Adds up what its children say of how many devices they have."""

    def __init__(self, role: AggregatorRole, *more: Any) -> None:
        super().__init__(replace(role, marks=False), *more)


def test_devices_that_change_their_fog_count_once_and_who_counts_them_twice_is_caught() -> None:
    for seed in SEEDS_OF_TWO:
        assert FeedbackWorld(draw_plan(seed)).run().rounds > 0
        with pytest.raises(InvariantError, match="few: a round of root moved with"):
            FeedbackWorld(draw_plan(seed), aggregator=CountsReports).run()


class SendsBoth(Device):
    """Sends also what it came to on a request that was given up: that rests on what it remembered then."""

    def _trained(self, event: Trained, now: float) -> list[Effect]:
        task, self.task = self.task, event.task
        model, self.model = self.model, self.model or "given up"
        try:
            return super()._trained(event, now)
        finally:
            self.task, self.model = max(task, event.task), model if task != event.task else self.model


def test_a_device_that_sends_what_was_given_up_is_caught() -> None:
    with pytest.raises(InvariantError, match="and remembers"):
        ran(SEEDS, SendsBoth)

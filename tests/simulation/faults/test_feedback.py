"""What senders remember survives crashes and a change of the fog; and devices with a mistake are caught."""

from __future__ import annotations

import pytest

from fogline.nodes import Device
from fogline.nodes.effects import Effect
from fogline.nodes.events import Trained
from fogline.simulation.faults import FeedbackWorld, InvariantError, SeedOutcome, draw_plan

SEEDS = range(30)


def ran(seeds: range, device: type[Device] = Device) -> list[tuple[SeedOutcome, int]]:
    """What came of seeds, and how often a device changed its fog."""
    worlds = [FeedbackWorld(draw_plan(seed), device=device) for seed in seeds]
    return [(world.run(), world.moves) for world in worlds]


def test_all_that_devices_came_to_was_sent_or_is_remembered() -> None:
    outcomes = ran(SEEDS)
    assert sum(outcome.crashes for outcome, _ in outcomes) > 2 * len(SEEDS)
    assert sum(moves for _, moves in outcomes) > 2 * len(SEEDS)


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

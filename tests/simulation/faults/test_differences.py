"""Models as differences under losses, duplicates and crashes: nobody ever has another model than its parent thinks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fogline.algorithms.group import Down
from fogline.compute.differences import next_model
from fogline.nodes import Device
from fogline.simulation.faults import DifferencesWorld, InvariantError, SeedOutcome, draw_plan

SEEDS = range(12)


def ran(seed: int, **nodes: Any) -> tuple[SeedOutcome, Counter[str]]:
    """What came of a seed, and how models came."""
    world = DifferencesWorld(draw_plan(seed), **nodes)
    return world.run(), world.ways


def ways(seeds: range, **nodes: Any) -> Counter[str]:
    return sum((ran(seed, **nodes)[1] for seed in seeds), Counter[str]())


def test_children_have_their_parents_idea_to_the_bit() -> None:
    outcomes = [ran(seed) for seed in SEEDS]
    assert sum(outcome.crashes for outcome, _ in outcomes) > 2 * len(SEEDS)
    came = sum((way for _, way in outcomes), Counter[str]())
    assert min(came["whole"], came["1 differences"]) > 5 * len(SEEDS)
    assert came["2 differences"] + came["3 differences"] > len(
        SEEDS
    )  # Of which one at least was lost, or not asked for.


def test_a_device_that_keeps_no_model_gets_every_one_whole() -> None:
    kept, forgotten = ways(range(3)), ways(range(3), device=Device)
    assert forgotten["whole"] > kept["whole"]


def test_a_parent_that_forgets_what_the_code_lost_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_loop(down: Down, *more: Any) -> tuple[Down, Any]:
        return down, next_model(down, *more)[1]

    monkeypatch.setattr("fogline.simulation.faults.differences.next_model", open_loop)
    with pytest.raises(InvariantError, match="than its parent thinks"):
        ways(range(5))

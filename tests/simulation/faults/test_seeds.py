"""Nothing is lost and nothing counts twice, over 2,000 seeds of faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fogline.simulation.faults import draw_plan, run

CHUNK = 100


@pytest.mark.parametrize("first", range(0, 2000, CHUNK))
def test_every_invariant_holds(first: int) -> None:
    outcomes = [run(seed) for seed in range(first, first + CHUNK)]
    assert all(outcome.rounds == draw_plan(outcome.seed).root.rounds for outcome in outcomes)
    # A chunk without faults would prove nothing.
    assert sum(outcome.crashes for outcome in outcomes) > CHUNK
    assert sum(outcome.lost_messages for outcome in outcomes) > 3 * CHUNK


def test_where_devices_are_protected_none_is_in_a_sum_twice() -> None:
    outcomes = [run(seed, private=True) for seed in range(200)]
    assert sum(outcome.crashes for outcome in outcomes) > 200


def test_a_seed_gives_one_trace() -> None:
    assert [run(seed) for seed in range(20)] == [run(seed) for seed in range(20)]


def test_the_trace_does_not_rest_on_hashes_of_strings() -> None:
    code = "from fogline.simulation.faults import run; print([run(s).trace for s in range(12)])"
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(traces) == 1


def test_plans_cover_every_shape_and_mode() -> None:
    plans = [draw_plan(seed) for seed in range(300)]
    modes = {(role.mode, role.parent is None, role.moves) for plan in plans for role in plan.roles.values()}
    assert {mode for mode, root, _ in modes if root} == {"sync", "async", "semi-async", "ring"}
    assert {mode for mode, root, _ in modes if not root} == {"sync", "async", "semi-async", "ring"}
    assert ("sync", False, False) in modes
    assert {max(name.count(".") for name in plan.roles) for plan in plans} == {0, 1, 2}
    assert {len(plan.devices) for plan in plans} == set(range(6, 13))

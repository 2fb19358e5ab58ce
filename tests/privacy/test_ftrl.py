"""The noise of DP-FTRL is that of a tree, and what it costs is what its nodes tell of one unit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.params import State
from fogline.privacy.accounting.events import Concentrated
from fogline.privacy.mechanisms import Use, make_mechanism
from fogline.privacy.mechanisms.ftrl import Ftrl, tree_squares
from fogline.privacy.noise.source import Source

DEVIATION = 1000.0
SIZE = 4000


def releases(rounds: int, restart: int = 0, sums: int = 0, skipped: tuple[int, ...] = ()) -> np.ndarray:
    """What rounds give out, (rounds, SIZE), those that came to nothing left out."""
    mechanism, state, given = Ftrl(restart), State(), list[np.ndarray]()
    for turn in range(rounds):
        if turn not in skipped:
            total = np.full(SIZE, sums, np.int64)
            noised, state = mechanism.noised(total, DEVIATION, state, Source(bytes([turn]) * 32), turn)
            given.append(noised)
    return np.array(given)


def variances(rounds: int, **more: int) -> list[float]:
    """Of the noise in the sum of all rounds so far, over that of one node."""
    return (np.cumsum(releases(rounds, **more), axis=0).var(axis=1) / DEVIATION**2).tolist()


def test_the_noise_of_a_sum_is_that_of_its_nodes() -> None:
    best = [1.0, 2 / 3, 4 / 7, 8 / 15]  # Of the best mean of a node and what is below it.
    wanted = [sum(best[level] for level in range(4) if rounds >> level & 1) for rounds in range(1, 12)]
    assert variances(11) == pytest.approx(wanted, rel=5 * math.sqrt(2 / SIZE))


def test_with_restarts_the_last_sums_noise_stays() -> None:
    found = variances(8, restart=4)
    assert found[3] == pytest.approx(4 / 7, rel=0.12)
    assert found[4] == pytest.approx(4 / 7 + 1, rel=0.12)
    assert found[7] == pytest.approx(8 / 7, rel=0.12)


def test_halving_the_noise_would_be_seen() -> None:
    assert min(variances(11)) > 0.45, "a node's noise is missing"


def test_sums_are_right_but_for_the_noise() -> None:
    made = np.cumsum(releases(9, sums=10_000), axis=0)
    assert np.abs(made.mean(axis=1) - 10_000 * np.arange(1, 10)).max() < 5 * DEVIATION * math.sqrt(2 / SIZE)


def test_a_round_that_came_to_nothing_is_a_leaf_all_the_same() -> None:
    found = np.cumsum(releases(4, skipped=(1, 2)), axis=0).var(axis=1) / DEVIATION**2
    assert found[-1] == pytest.approx(4 / 7, rel=0.12)


def test_a_round_that_was_there_does_not_come_again() -> None:
    mechanism, total = Ftrl(), np.zeros(3, np.int64)
    noised, state = mechanism.noised(total.copy(), DEVIATION, {}, Source(bytes(32)), 2)
    again, _ = mechanism.noised(total.copy(), DEVIATION, {}, Source(bytes(32)), 2)
    assert np.array_equal(noised, again)
    with pytest.raises(ValueError, match="round 2 already"):
        mechanism.noised(total, DEVIATION, state, Source(bytes(32)), 2)


# What it costs.


def squares_of(leaves: int, places: tuple[int, ...]) -> int:
    """For every complete node, the square of the number of places below it."""
    total, width = 0, 1
    while width <= leaves:
        nodes = [sum(low <= place < low + width for place in places) for low in range(0, leaves - width + 1, width)]
        total, width = total + sum(count**2 for count in nodes), 2 * width
    return total


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
def test_no_unit_costs_more_than_is_claimed(leaves: int, times: int, separation: int) -> None:
    most = 0
    for count in range(min(times, leaves) + 1):
        for places in itertools.combinations(range(leaves), count):
            if all(b - a >= separation for a, b in itertools.pairwise(places)):
                most = max(most, squares_of(leaves, places))
    claimed = tree_squares(leaves, times, separation)
    assert most <= claimed <= 1.5 * most


def test_the_cost_of_a_unit_that_is_there_once_is_the_trees_height() -> None:
    assert Ftrl().events(2.0, Use(1024, 1)) == (Concentrated(11 / 8),)
    assert Ftrl().events(2.0, Use(1023, 1)) == (Concentrated(10 / 8),)
    # Of a unit that is in every tree of 16.
    assert Ftrl(restart=16).events(2.0, Use(64, 4, 16)) == (Concentrated(4 * 5 / 8),)


def test_the_cost_rises_with_rounds_and_falls_with_separation() -> None:
    def rho(rounds: int, separation: int) -> float:
        (event,) = Ftrl().events(1.0, Use(rounds, rounds, separation))
        assert isinstance(event, Concentrated)
        return event.rho

    assert all(rho(rounds, 4) <= rho(rounds + 1, 4) for rounds in range(1, 70))
    assert all(rho(64, separation) >= rho(64, separation + 1) for separation in range(1, 64))


def test_a_job_names_it() -> None:
    assert make_mechanism("ftrl(restart=16)") == Ftrl(16)

"""Shares and counts of children, and the shape of a tree."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from hypothesis import given
from hypothesis import strategies as st

from fogline.jobs import Tier, Tree
from fogline.jobs.tree import share_of


@given(st.integers(1, 100), st.integers(1, 10_000))
def test_a_share_is_rounded_up_as_on_paper(percent: int, whole: int) -> None:
    exact = (Decimal(percent) * whole / 100).to_integral_value(ROUND_CEILING)
    assert share_of(percent / 100, whole) == max(1, int(exact))


def test_one_is_a_count_and_one_point_zero_is_all() -> None:
    assert Tier(cohort=1).cohort_of(50) == 1
    assert Tier(cohort=1.0).cohort_of(50) == 50
    assert Tier.model_validate_json(Tier(cohort=1.0).model_dump_json()).cohort_of(50) == 50


def test_every_aggregator_hangs_below_the_tier_above() -> None:
    parents = Tree(cloud=Tier(), edge=Tier(count=2), fog=Tier(count=5)).parents()
    assert parents["cloud"] is None
    assert [parents[f"edge-{i}"] for i in range(2)] == ["cloud", "cloud"]
    assert [parents[f"fog-{i}"] for i in range(5)] == ["edge-0", "edge-0", "edge-0", "edge-1", "edge-1"]


def test_a_tier_ends_all_its_rounds_before_its_parent_gives_up() -> None:
    deadlines = Tree(cloud=Tier(deadline="10min"), fog=Tier(count=2, rounds=3)).deadlines()
    assert 3 * deadlines["fog"] < deadlines["cloud"] == 600

"""Sums that add up over any tree, and the spread over devices that they tell."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.aggregation import UnusableUpdateError
from fogline.aggregation.spread import spread_of, spread_sums
from fogline.aggregation.tally import SurveySums, added

numbers = st.floats(-1e9, 1e9)
devices = st.lists(st.dictionaries(st.sampled_from("abc"), numbers, max_size=3), min_size=1, max_size=30)


@given(devices, st.lists(st.integers(0, 4), min_size=30, max_size=30))
def test_a_tree_gives_what_a_star_gives(sums: list[dict[str, float]], fogs: list[int]) -> None:
    star = added(map(SurveySums.of, sums)).sums
    below = [[SurveySums.of(one) for one, home in zip(sums, fogs, strict=False) if home == fog] for fog in range(5)]
    through_files = [SurveySums.from_arrays(added(some).to_arrays()) for some in below]
    assert added(through_files).sums == pytest.approx(star, rel=1e-15, abs=1e-15)
    for name, total in star.items():
        exact = sum((Fraction(one.get(name, 0.0)) for one in sums), Fraction(0))
        assert total == pytest.approx(float(exact), rel=1e-15, abs=1e-15)


def test_parts_are_named_by_aggregators_and_a_child_names_none_of_its_own() -> None:
    liar = SurveySums.of({"a": 5.0})
    liar.parts["fog-1"] = {"a": 99.0}
    fogs = [added([SurveySums.of({"a": 1.0}), liar], "fog-0"), added([SurveySums.of({"a": 2.0})], "fog-1")]
    total = added(SurveySums.from_arrays(fog.to_arrays()) for fog in fogs)
    assert total.parts == {"fog-0": {"a": 6.0}, "fog-1": {"a": 2.0}}
    assert total.sums == {"a": 8.0}


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"vector/delta": np.zeros(3)},
        SurveySums.of({"a": math.nan}).to_arrays(),
        SurveySums.of({"a": math.inf}).to_arrays(),
        SurveySums.of({"a": 1e305}).to_arrays(),
        SurveySums.of({"a": 1.0}).to_arrays() | {"tally/values": np.zeros((2, 2))},
        SurveySums.of({"a": 1.0}).to_arrays() | {"tally/values": np.zeros((1, 2), np.int64)},
        SurveySums.of({"a": 1.0}).to_arrays() | {"tally/names": np.frombuffer(b"{", np.uint8)},
        SurveySums.of({"a": 1.0}).to_arrays() | {"tally/names": np.frombuffer(b"[3]", np.uint8)},
    ],
)
def test_what_are_no_sums_is_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(UnusableUpdateError):
        SurveySums.from_arrays(arrays)


def test_what_is_read_adds_up_without_an_overflow() -> None:
    largest = SurveySums.from_arrays(SurveySums.of({"a": 1e300, "b": -1e300}).to_arrays())
    assert added([largest] * 1000).sums == pytest.approx({"a": 1e303, "b": -1e303})


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60), st.booleans())
def test_the_spread_is_that_of_the_devices_within_a_bin(figures: list[float], higher: bool) -> None:
    spread = spread_of(added(SurveySums.of(spread_sums(one)) for one in figures).sums, higher)
    assert spread is not None
    worst = sorted(figures, reverse=not higher)[: max(1, len(figures) // 10)]
    assert spread.mean == pytest.approx(np.mean(figures))
    assert spread.std == pytest.approx(np.std(figures), rel=1e-6, abs=1e-6 * max(figures))
    assert spread.worst_decile == pytest.approx(np.mean(worst), rel=0.0101)
    assert sum(count for _, count in spread.bins) == len(figures)


def test_zero_and_negative_figures_have_bins_of_their_own() -> None:
    spread = spread_of(added(SurveySums.of(spread_sums(one)) for one in (-2.0, 0.0, 0.0, 3.0)).sums, True)
    assert spread is not None
    assert spread.bins == ((-2.0, 1), (0.0, 2), (3.0, 1))

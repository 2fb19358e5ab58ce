"""Columns are sorted, however few or many rows there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from fogline.aggregation.ordering import FEW, STRIP, sort_columns


@pytest.mark.parametrize("rows", range(1, 11))
def test_a_network_that_sorts_zeros_and_ones_sorts_everything(rows: int) -> None:
    """Knuth's zero-one principle: so these are all cases."""
    block = np.array([*product((0.0, 1.0), repeat=rows)], np.float32).T.copy()
    wanted = np.sort(block, axis=0)
    sort_columns(block)
    assert np.array_equal(block, wanted)


@pytest.mark.parametrize("rows", [20, 27, FEW, FEW + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_are_sorted_wherever_strips_end(rows: int, dtype: type) -> None:
    block = np.random.default_rng(rows).normal(size=(rows, STRIP + 3)).astype(dtype)
    wanted = np.sort(block, axis=0)
    sort_columns(block)
    assert np.array_equal(block, wanted)

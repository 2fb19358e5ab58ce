"""Count sketches: one cell a number in each row, sums of sketches, and what can be told from them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.codecs.count_sketch import CountSketch


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_each_row_throws_every_number_into_one_cell_and_sketches_add_up(
    count: int, rows: int, columns: int, seed: int
) -> None:
    sketch = CountSketch(count, rows, columns, seed)
    cells = np.stack([sketch.of(one) for one in np.eye(count)]).reshape(count, rows, columns)
    assert np.array_equal(np.abs(cells).sum(axis=2), np.ones((count, rows)))
    one, other = np.random.default_rng(seed).standard_normal((2, count))
    np.testing.assert_allclose(sketch.of(one) + 2 * sketch.of(other), sketch.of(one + 2 * other), atol=1e-12)
    estimates = np.median(
        [row @ cell for row, cell in zip(np.moveaxis(cells, 1, 0), sketch.of(one).reshape(rows, columns), strict=True)],
        axis=0,
    )
    np.testing.assert_allclose(sketch.estimates(sketch.of(one)), estimates, atol=1e-12)


def test_the_largest_numbers_stand_out() -> None:
    """Their estimates err by no more than what is left of the others in a cell (theorem of the median trick)."""
    rng, count = np.random.default_rng(3), 20_000
    vector = rng.standard_normal(count).astype(np.float32)
    heavy = rng.choice(count, 20, replace=False)
    vector[heavy] = 60 * np.sign(vector[heavy])
    sketch = CountSketch(count, 5, 1000)
    estimates = sketch.estimates(sketch.of(vector))
    assert estimates.dtype == np.float32
    assert set(np.abs(estimates).argsort()[-20:]) == set(heavy)
    off = np.abs(estimates - vector)
    assert np.mean(off <= 3 * np.linalg.norm(vector) / np.sqrt(1000)) > 0.99

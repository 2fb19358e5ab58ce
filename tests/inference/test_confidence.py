"""Confidence: agrees with its formula, and answers whatever a model gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fogline.inference.card import Scores
from fogline.inference.confidence import classes, confidence, probabilities

LOGITS, SHARES = Scores("y"), Scores("y", "probabilities")


def of(values: Any, dtype: str = "float32") -> dict[str, npt.NDArray[Any]]:
    return {"y": np.array(values, dtype)}


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_logits_become_a_softmax(rows: int, temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (rows, 10))
    powers = np.exp(logits / temperature)
    expected = powers / powers.sum(1, keepdims=True)
    scores = Scores("y", temperature=temperature)
    np.testing.assert_allclose(probabilities(scores, {"y": logits}), expected)
    np.testing.assert_allclose(confidence(scores, {"y": logits}), expected.max(1))
    np.testing.assert_array_equal(classes(scores, {"y": logits}), logits.argmax(1))


def test_a_single_column_is_the_second_of_two_classes() -> None:
    for values in (of([[2.0], [-2.0]]), of([2.0, -2.0])):
        np.testing.assert_allclose(confidence(LOGITS, values), 1 / (1 + np.exp(-2.0)))
        assert classes(LOGITS, values).tolist() == [1, 0]
    np.testing.assert_allclose(probabilities(SHARES, of([[0.2]])), [[0.8, 0.2]], rtol=1e-6)
    assert classes(SHARES, of([[0.2], [0.9]])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([1.0, float("nan")], 0.0),
        ([float("nan"), 1.0], 0.0),
        ([float("inf"), 0.0], 1.0),
        ([float("inf"), float("inf")], 0.5),
        ([float("-inf"), 0.0], 1.0),
        ([1e308, -1e308], 1.0),
        ([0.0, 0.0], 0.5),
    ],
)
def test_odd_logits(logits: list[float], expected: float) -> None:
    for rows in (1, 3):
        assert confidence(LOGITS, of([logits] * rows, "float64")).tolist() == [expected] * rows


def test_one_hot_probabilities_are_certain_and_broken_ones_are_not() -> None:
    assert confidence(SHARES, of([[0.0, 1.0], [0.0, 1.5], [float("nan"), 1.0]])).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("shape", [(0, 10), (0,), (0, 1), (3, 0)])
def test_nothing_has_no_confidence(shape: tuple[int, ...]) -> None:
    for scores in (LOGITS, SHARES):
        assert confidence(scores, {"y": np.zeros(shape)}).tolist() == [0.0] * shape[0]
        assert len(classes(scores, {"y": np.zeros(shape)})) == shape[0]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(width=16),
    ),
    st.sampled_from([LOGITS, SHARES]),
)
def test_always_finite_in_its_range_and_the_same_alone_and_in_a_batch(values: npt.NDArray[Any], scores: Scores) -> None:
    together = confidence(scores, {"y": values})
    assert ((together >= 0) & (together <= 1)).all()
    for row, value in zip(values, together, strict=True):
        np.testing.assert_allclose(confidence(scores, {"y": row[None]}), [value], rtol=1e-12)

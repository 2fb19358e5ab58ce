"""Ranges of a smaller model: they find its numbers, travel as text, and bad ones are refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.params import Entry, Spec
from fogline.params.ranges import Axes, ModelRanges

SPEC = Spec.of(
    [
        Entry("w", (4, 3), "float32"),
        Entry("b", (4,), "float32"),
        Entry("mean", (4,), "float32", role="buffer"),
        Entry("steps", (2,), "int64", role="buffer"),
    ]
)


def axis(size: int) -> st.SearchStrategy[tuple[tuple[int, int], ...] | None]:
    """None, or runs of the indices below a size."""
    return st.none() | st.lists(st.booleans(), min_size=size, max_size=size).filter(any).map(runs)


def runs(kept: list[bool]) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff(np.array([False, *kept, False]).astype(int)))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))


def picked(array: np.ndarray, axes: Axes) -> np.ndarray:
    for place, ends in enumerate(axes):
        if ends is not None:
            array = np.take(array, [i for a, b in ends for i in range(a, b)], place)
    return array.ravel()


@settings(max_examples=40, deadline=None)
@given(st.tuples(axis(4), axis(3)), st.tuples(axis(4)))
def test_places_are_those_of_the_numbers_in_the_ranges(w: Axes, b: Axes) -> None:
    made = ModelRanges.of({"w": w, "b": b, "mean": b, "steps": (None,)})
    read = ModelRanges.from_array(made.to_array())
    read.check(SPEC)
    assert read.entries == {"w": w, "b": b, "mean": b, "steps": (None,)}
    vector = np.arange(SPEC.floats)
    whole = np.split(vector, [12, 16])
    wanted = np.concatenate([picked(whole[0].reshape(4, 3), w), picked(whole[1], b)])
    assert np.array_equal(vector[read.trained(SPEC)], wanted)
    assert np.array_equal(vector[SPEC.trainable :][read.buffers(SPEC)], picked(whole[2], b))
    assert read.counters(SPEC).tolist() == [0, 1]
    assert read.spec(SPEC).trainable == wanted.size


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "cannot be read"),
        ("[1]", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"w":[[[0,1.5]],null]}', "no two whole numbers"),
        ('{"w":[[[0,true]],null]}', "no two whole numbers"),
        ('{"other":[null]}', "'other', which is no entry"),
        ('{"w":[null]}', "along 1 axes of 'w', which has 2"),
        ('{"w":[[[0,5]],null]}', "not within (4, 3)"),
        ('{"w":[[[-1,2]],null]}', "not within (4, 3)"),
        ('{"w":[[[2,3],[0,1]],null]}', "not within (4, 3)"),
        ('{"w":[[],null]}', "not within (4, 3)"),
    ],
)
def test_what_is_no_part_of_the_model_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^(It|The|.*Its)") as caught:
        ModelRanges(text).check(SPEC)
    assert why in str(caught.value)

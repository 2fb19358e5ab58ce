"""What is frozen of a model, as a model of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.params import Entry, Params, Spec, check_frozen, from_bytes, frozen_of, load, save, to_bytes, with_frozen

KINDS = ["float16", "float32", "float64", "int8", "int64"]


@st.composite
def layouts(draw: st.DrawFn) -> Spec:
    """A model of any entries."""
    kinds = draw(
        st.lists(st.tuples(st.sampled_from(["trained", "buffer", "frozen"]), st.sampled_from(KINDS)), max_size=8)
    )
    return Spec.of(
        Entry(f"e{i}", (i % 3,), kind, "buffer" if role == "trained" and kind.startswith("int") else role)  # type: ignore[arg-type]
        for i, (role, kind) in enumerate(kinds)
    )


def filled(spec: Spec, first: int) -> Params:
    return Params(
        spec, np.arange(first, first + spec.floats, dtype=spec.dtype), np.arange(first, first + spec.integers)
    )


@given(layouts())
def test_what_is_cut_out_goes_into_another_model_of_the_kind_and_nothing_else_does(spec: Spec) -> None:
    one, other = filled(spec, 1), filled(spec, 51)
    frozen = frozen_of(one)
    if frozen is None:
        assert all(entry.role != "frozen" for entry in spec.entries)
        check_frozen(spec, None)
        return
    mixed = with_frozen(other, from_bytes(to_bytes(frozen)))
    for entry in spec.entries:
        source = one if entry.role == "frozen" else other
        np.testing.assert_array_equal(mixed.view(entry.name), source.view(entry.name))
    np.testing.assert_array_equal(other.vector, filled(spec, 51).vector, "the other model is as it was")


def model(size: int) -> Params:
    return filled(Spec.of([Entry("head", (2,), "float32"), Entry("body", (size,), "float16", "frozen")]), 1)


def test_the_file_of_equal_entries_is_the_same_whatever_trains_on_them(tmp_path: Path) -> None:
    one, other = model(3), model(3)
    other.view("head")[:] = -1.0
    for name, params in (("one", one), ("other", other)):
        frozen = frozen_of(params)
        assert frozen is not None
        save(tmp_path / name, frozen)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert [entry.name for entry in load(tmp_path / "one").spec.entries] == ["body"]


@pytest.mark.parametrize("given", [None, frozen_of(model(4))], ids=["nothing", "another shape"])
def test_what_is_frozen_of_another_model_is_refused(given: Params | None) -> None:
    with pytest.raises(ValueError, match="frozen entries are not those of the model here: 'body' is missing, or has"):
        check_frozen(model(3).spec, given)

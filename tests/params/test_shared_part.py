"""Between a whole model and the part of it that is shared: any subset of entries may stay on devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.params import Entry, Params, SharedPart, Spec
from fogline.params.shared_part import Pick

ROLES = ["trained", "buffer", "frozen"]


@st.composite
def models(draw: Any) -> tuple[Spec, frozenset[str]]:
    """A model of any entries, and some of their names."""
    kinds = st.tuples(st.sampled_from(ROLES), st.booleans(), st.integers(0, 4), st.booleans())
    entries, private = list[Entry](), set[str]()
    for i, (role, whole, count, own) in enumerate(draw(st.lists(kinds, max_size=8))):
        integer = whole and role != "trained"
        entries.append(Entry(f"e{i}", (count,), "int64" if integer else "float32", role))
        if own and role != "frozen":
            private.add(f"e{i}")
    return Spec.of(entries), frozenset(private)


def filled(spec: Spec, first: int) -> Params:
    """A model of which no two numbers are alike."""
    floats = np.arange(first, first + spec.floats, dtype=spec.dtype)
    return Params(spec, floats, np.arange(first, first + spec.integers))


def by_name(params: Params) -> dict[str, list[float]]:
    return {name: array.ravel().tolist() for name, array in params.arrays().items()}


@given(models())
def test_the_shared_part_is_what_neither_stays_nor_is_frozen(made: tuple[Spec, frozenset[str]]) -> None:
    spec, private = made
    part, params = SharedPart(spec, private), filled(spec, 1)
    stays = private | {entry.name for entry in spec.entries if entry.role == "frozen"}
    assert by_name(part.cut(params)) == {n: v for n, v in by_name(params).items() if n not in stays}
    assert by_name(Params(part.handed_out, *_of(part, params))) == {
        name: values for name, values in by_name(params).items() if name not in private
    }


def _of(part: SharedPart, params: Params) -> tuple[Any, Any]:
    given = part.hand_out(part.cut(params), params)
    return given.vector, given.counters


@given(models())
def test_a_shared_part_fills_up_with_what_a_device_has(made: tuple[Spec, frozenset[str]]) -> None:
    spec, private = made
    part, here, home = SharedPart(spec, private), filled(spec, 1), filled(spec, 1001)
    shared = part.cut(here)
    whole = Params(spec, part.floats.put(shared.vector, home.vector), part.counters.put(shared.counters, home.counters))
    names = {entry.name for entry in part.shared.entries}
    assert by_name(whole) == {n: (by_name(here) if n in names else by_name(home))[n] for n in by_name(here)}
    weights = part.trained.cut(here.vector[: spec.trainable])
    np.testing.assert_array_equal(weights, shared.vector[: part.shared.trainable])
    own = part.private_floats.cut(home.vector)
    assert own.size == sum(entry.count for entry in spec.entries if entry.is_float and entry.name in private)


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 3))
def test_a_pick_puts_back_what_it_cuts_on_any_leading_axes(chosen: list[bool], rows: int) -> None:
    pick = Pick.of((slice(i, i + 1) for i, taken in enumerate(chosen) if taken), len(chosen))
    whole = np.arange(rows * len(chosen), dtype=np.float32).reshape(rows, len(chosen))
    np.testing.assert_array_equal(pick.cut(whole), whole[:, chosen])
    base = np.full((1, len(chosen)), -1.0, np.float32)
    np.testing.assert_array_equal(pick.put(pick.cut(whole), base), np.where(chosen, whole, -1.0))


def test_where_nothing_stays_nothing_is_copied() -> None:
    spec = Spec.of(
        [Entry("w", (3,), "float32"), Entry("b", (2,), "float32", "buffer"), Entry("n", (), "int64", "buffer")]
    )
    part, params = SharedPart(spec, frozenset()), filled(spec, 1)
    assert part.shared is spec
    assert part.cut(params).vector is params.vector
    assert part.trained.put(params.vector[:3], params.vector[:3] * 0) is not None
    frozen = SharedPart(Spec.of([*spec.entries, Entry("f", (4,), "float32", "frozen")]), frozenset())
    whole = filled(frozen.whole, 1)
    assert np.shares_memory(frozen.cut(whole).vector, whole.vector), "what is frozen lies behind the rest"


def test_roles_order_memory_and_travel_in_the_layout() -> None:
    spec = Spec.of(
        [
            Entry("codes", (2,), "int8", "frozen"),
            Entry("steps", (), "int64", "buffer"),
            Entry("body", (3,), "float32", "frozen"),
            Entry("mean", (2,), "float32", "buffer"),
            Entry("head", (2,), "float32"),
        ]
    )
    assert [entry.name for entry in spec.entries] == ["head", "mean", "body", "steps", "codes"]
    assert Spec.read(spec.layout) == spec
    with pytest.raises(ValueError, match="has the role 'personal'; there are trained, buffer, frozen"):
        Spec.of([Entry("a", (1,), "float32", "personal")])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of an earlier version of Fogline"):
        Spec.read('[["a",[2],"float32",true]]')


def test_names_are_found_by_pattern() -> None:
    spec = Spec.of([Entry(name, (1,), "float32") for name in ("body.0.weight", "head.weight", "head.bias")])
    assert spec.matching(["head.*", "*.bias"]) == ["head.weight", "head.bias"]
    assert spec.last_layer == ["head.weight", "head.bias"]
    with pytest.raises(ValueError, match=r"called 'tail\.\*'; there are body\.0\.weight, head\.weight, head\.bias"):
        spec.matching(["head.*", "tail.*"])

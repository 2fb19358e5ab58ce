"""From what a module gives to outputs with names, in people's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fogline.inference.card import Units
from fogline.inference.runtimes.base import Array, ModelError

Given = Array | tuple[Array, ...] | Mapping[str, Array]


def named(given: Given, names: Sequence[str], units: Units | None) -> dict[str, Array]:
    """Outputs by name, scaled.

    Raises:
        ModelError: there are others than the names.
    """
    match given:
        case Mapping():
            outputs = dict(given)
        case tuple():
            outputs = dict(zip(names, given, strict=False)) if len(given) == len(names) else {}
        case _:
            outputs = {names[0]: given}
    if set(outputs) != set(names):
        raise ModelError(f"The module gives other outputs than {', '.join(names)}.")
    return outputs if units is None else {name: scaled(array, units) for name, array in outputs.items()}


def scaled(array: Array, units: Units) -> Array:
    """In people's units; the type stays."""
    return (array * array.dtype.type(units.scale) + array.dtype.type(units.offset)).astype(array.dtype, copy=False)

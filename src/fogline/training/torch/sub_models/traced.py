"""Tensors with their axes, and what is found of a module's widths while they go through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from torch import Tensor

from fogline.training.torch.sub_models.axes import Axis, is_free, join, stays


class Traced(NamedTuple):
    """A tensor, and what its axes are."""

    value: Tensor
    axes: tuple[Axis, ...]


class NarrowedAttribute(NamedTuple):
    """An attribute of a layer that counts what becomes narrower."""

    layer: str
    attribute: str
    axes: tuple[Axis, ...]
    form: Callable[[tuple[int, ...]], Any]
    """From the axes' sizes to the attribute."""


def only(sizes: tuple[int, ...]) -> int:
    """The one size there is."""
    return sizes[0]


class WidthTable:
    """Which parameters and attributes of a module have which widths."""

    def __init__(self) -> None:
        self.parameters: dict[int, tuple[Tensor, list[Axis]]] = {}
        """By the identity of a parameter or buffer."""
        self.cuts: list[NarrowedAttribute] = []

    def own(self, tensor: Tensor | None, *axes: Axis) -> list[Axis]:
        """A layer's parameter has those axes; where another layer has it too, they are cut alike."""
        if tensor is None:
            return list(axes)
        if id(tensor) not in self.parameters:
            self.parameters[id(tensor)] = tensor, list(axes)
        known = self.parameters[id(tensor)][1]
        for mine, other in zip(known, axes, strict=True):
            join(mine, other)
        return known

    def counts(self, layer: str, attribute: str, *axes: Axis, form: Callable[[tuple[int, ...]], Any] = only) -> None:
        """A layer's attribute counts those axes."""
        self.cuts.append(NarrowedAttribute(layer, attribute, axes, form))


def as_it_is(result: Any) -> Any:
    """A result all of whose axes stay."""
    if isinstance(result, Tensor):
        return Traced(result, tuple(map(stays, result.shape)))
    if isinstance(result, tuple | list):
        return tuple(as_it_is(part) for part in cast("tuple[Any, ...]", result))
    return result


def each(thing: Any, work: Callable[[Axis], None]) -> None:
    """Work on every axis of what there is in nested tuples, lists and dicts."""
    if isinstance(thing, Traced):
        for axis in thing.axes:
            work(axis)
    elif isinstance(thing, tuple | list):
        for part in cast("tuple[Any, ...]", thing):
            each(part, work)
    elif isinstance(thing, dict):
        each(list(cast("dict[str, Any]", thing).values()), work)


def any_free(thing: Any) -> bool:
    """Whether something of it can become narrower."""
    found: list[bool] = []
    each(thing, lambda axis: found.append(is_free(axis)))
    return any(found)

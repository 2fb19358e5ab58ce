"""The axes of a module's tensors, as what may become narrower and what may not.

An axis is a sequence of runs. A run is a width, each unit of which stands for some indices that lie side by side; or a
run of indices that stay. Flattening 8 channels of 4 × 4 pixels gives one run of 8 units of 16 indices; concatenating
two layers gives their runs one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fogline.params.ranges import Range


class UncuttableError(ValueError):
    """A module cannot be made smaller in that way. One sentence, which names the layer."""


@dataclass(eq=False)
class Width:
    """How many units a layer gives, which others take; all that must be equally wide share one.

    Args:
        count: of units in the whole model.
        multiple: a narrower one is a multiple of it (heads, groups).
        fixed: whether it stays as it is: it is the model's input or output, or is added to it.
        per: this is the size of one of so many equal parts of another width.
    """

    count: int
    multiple: int = 1
    fixed: bool = False
    per: tuple[Width, int] | None = None
    _same: Width | None = None

    @property
    def root(self) -> Width:
        """What stands for all that are equally wide."""
        return self if self._same is None else self._same.root

    def fix(self) -> None:
        """It stays as it is."""
        self.root.fixed = True
        if self.root.per is not None:
            self.root.per[0].fix()

    def join(self, other: Width) -> None:
        """Both are equally wide from now on."""
        one, two = self.root, other.root
        if one is two:
            return
        if (one.per is None) != (two.per is None):
            raise UncuttableError("the width of an attention's head meets another width")
        one.multiple = math.lcm(one.multiple, two.multiple)
        one.fixed |= two.fixed
        two._same = one

    def kept(self, share: float) -> int:
        """Units of the model that is so wide, 0 < share <= 1: rounded up, the first ones."""
        root = self.root
        if root.per is not None:
            whole, parts = root.per
            return whole.kept(share) // parts
        if root.fixed or root.count % root.multiple:
            return root.count
        return root.multiple * max(1, math.ceil(share * root.count / root.multiple - 1e-9))


class UnitRun(NamedTuple):
    """Some of an axis: units of a width, each of so many indices; or, without a width, so many units that stay."""

    width: Width | None
    units: int
    each: int = 1


Axis = tuple[UnitRun, ...]


def axis_of(width: Width) -> Axis:
    """An axis with one index for each unit."""
    return (UnitRun(width, width.count),)


def stays(size: int) -> Axis:
    """An axis that stays as it is."""
    return (UnitRun(None, size),)


def size_of(axis: Axis) -> int:
    """How many indices it has."""
    return narrow_size(axis, 1.0)


def is_free(axis: Axis) -> bool:
    """Whether it can become narrower, as far as is known by now."""
    return any(run.width is not None and not run.width.root.fixed for run in axis)


def fix(axis: Axis) -> None:
    """It stays as it is."""
    for run in axis:
        if run.width is not None:
            run.width.fix()


def join(one: Axis, two: Axis) -> Axis:
    """Both are cut alike from now on; an axis that both are.

    Raises:
        UncuttableError: they cannot be.
    """
    if not (is_free(one) and is_free(two)):
        fix(one)
        fix(two)
        return one
    if [run[1:] for run in one] != [run[1:] for run in two]:
        raise UncuttableError(f"parts of {_said(one)} meet parts of {_said(two)}, as if a concatenation were added")
    for a, b in zip(one, two, strict=True):
        if a.width is None or b.width is None:
            fix((a, b))
        else:
            a.width.join(b.width)
    return one


def merged(axes: Sequence[Axis]) -> Axis:
    """Several axes as one, the last the fastest, as flattening does it.

    Raises:
        UncuttableError: two of them can become narrower.
    """
    free = [place for place, axis in enumerate(axes) if is_free(axis)]
    if not free:
        return stays(math.prod(map(size_of, axes)))
    if len(free) > 1:
        raise UncuttableError("two axes that can both become narrower are flattened into one")
    (place,) = free
    outer, inner = math.prod(map(size_of, axes[:place])), math.prod(map(size_of, axes[place + 1 :]))
    return tuple(UnitRun(run.width, run.units, run.each * inner) for run in axes[place]) * outer


def ranges(axis: Axis, share: float) -> tuple[Range, ...] | None:
    """The indices that a model so wide has along it; None: all."""
    found: list[Range] = []
    start = 0
    for run in axis:
        kept = run.units if run.width is None else run.width.kept(share)
        first, behind = start, start + kept * run.each
        if found and found[-1][1] == first:
            first = found.pop()[0]
        found.append((first, behind))
        start += run.units * run.each
    return None if found == [(0, start)] else tuple(found)


def narrow_size(axis: Axis, share: float) -> int:
    """How many indices a model so wide has along it."""
    return sum((run.units if run.width is None else run.width.kept(share)) * run.each for run in axis)


def _said(axis: Axis) -> str:
    return " + ".join(str(run.units * run.each) for run in axis)

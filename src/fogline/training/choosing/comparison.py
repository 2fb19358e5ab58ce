"""Whether two engines gave a device the same numbers, up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fogline.params import Entry, Spec
from fogline.training.local import ClientJob, LocalResult

ROUNDINGS = 1.0e4
"""Roundings, of a movement's size, that two ways to do the same arithmetic may lie apart after a few steps."""
LIGHT = 0.01
"""A tensor that moves less than this share of the average is measured by that: it may move by rounding only."""
STORED = 16.0
"""Roundings of a number's own size, from adding up small steps."""
AMPLIFIED = 30.0
"""Times what the reference makes of a start that is changed by rounding."""

Floats = npt.NDArray[np.floating]


class Disagreement(NamedTuple):
    """What differs, in words, and how much of the whole that is."""

    what: str
    share: float = 1.0


@dataclass(frozen=True)
class Pair:
    """A device's results: the reference's and another engine's.

    Where they differ by more than rounding does as a rule, they may still not differ by more than the reference
    does from itself, where its start is changed by rounding: then training is unsteady there (an optimizer that
    divides noise by noise, a kink).
    """

    spec: Spec
    job: ClientJob
    ours: LocalResult
    theirs: LocalResult
    shaken: Callable[[], tuple[ClientJob, LocalResult] | None]
    """Job and result of the reference from such a start, if there is one; asked for only where it is needed."""

    def difference(self) -> Disagreement | None:
        """The largest difference; None if there is none."""
        if (self.ours.failure is None) != (self.theirs.failure is None):
            where = "in it" if self.theirs.failure else "in the reference"
            return Disagreement(f"training fails {where} only: {self.theirs.failure or self.ours.failure}")
        if self.ours.failure is not None:
            return None
        if (self.ours.samples, self.ours.steps) != (self.theirs.samples, self.theirs.steps):
            return Disagreement(f"it makes {self.theirs.steps} steps where the reference makes {self.ours.steps}")
        found = [self._losses(), *(self._entry(entry) for entry in self.spec.entries if entry.count)]
        return max((one for one in found if one), key=lambda one: one.share, default=None)

    def _losses(self) -> Disagreement | None:
        one, other = losses(self.ours), losses(self.theirs)
        share = norm(one - other) / max(abs(self.ours.loss_rms), LIGHT)
        if share <= ROUNDINGS * self._rounding or self._unsteady(one - other, lambda _, shaken: one - losses(shaken)):
            return None
        what = f"the mean loss is {self.theirs.loss:.6g} where the reference has {self.ours.loss:.6g}"
        return Disagreement(what, share)

    def _entry(self, entry: Entry) -> Disagreement | None:
        part = self.spec.slices[entry.name]
        if not entry.is_float:
            one, other = self.ours.counters[part], self.theirs.counters[part]
            if np.array_equal(one, other):
                return None
            return Disagreement(f"'{entry.name}' is {_few(other)} where the reference has {_few(one)}")
        one, other = movement(self.job, self.ours, part), movement(self.job, self.theirs, part)
        light = LIGHT * self._whole * (entry.count / self.spec.floats) ** 0.5
        size, apart = max(norm(one), light), norm(one - other)
        if apart <= self._rounding * (ROUNDINGS * size + STORED * norm(self.ours.end[part])):
            return None
        if self._unsteady(one - other, lambda job, shaken: one - movement(job, shaken, part)):
            return None
        what = f"'{entry.name}' moves by {norm(other):.4g} where the reference moves it by {norm(one):.4g}"
        return Disagreement(f"{what} ({apart:.2g} apart)", apart / size if size else 1.0)

    @cached_property
    def _whole(self) -> float:
        return norm(movement(self.job, self.ours, slice(None)))

    @property
    def _rounding(self) -> float:
        return float(np.finfo(self.spec.dtype).eps)

    def _unsteady(self, apart: Floats, spread: Callable[[ClientJob, LocalResult], Floats]) -> bool:
        again = self.shaken()
        if again is None or again[1].failure is not None:
            return False
        return norm(apart) <= AMPLIFIED * norm(spread(*again))


def movement(job: ClientJob, trained: LocalResult, part: slice) -> Floats:
    """How far training moved some of a device's numbers."""
    return trained.end[part] - job.start[part]


def losses(trained: LocalResult) -> Floats:
    """The mean of the steps' losses, and the root of their mean square."""
    return np.array([trained.loss, trained.loss_rms])


def norm(numbers: Floats) -> float:
    """The Euclidean norm of a vector."""
    return float(np.linalg.norm(numbers.astype(np.float64)))  # Squares of float32 overflow from 2e19 on.


def _few(numbers: npt.NDArray[np.int64]) -> str:
    shown = ", ".join(str(number) for number in numbers[:3])
    return f"{shown}, …" if len(numbers) > 3 else shown

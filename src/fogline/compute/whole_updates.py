"""Updates of smaller models, as updates of the whole one: where a number is not in it, it weighs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation import Partial, UnusableUpdateError, Update, Weight
from fogline.algorithms.hooks import BUFFERS
from fogline.params import Spec
from fogline.params.ranges import ModelRanges, Places


@dataclass(frozen=True, slots=True)
class WholeUpdates:
    """Lays updates of smaller models out over the whole model.

    Args:
        spec: of the model.
        movement: name of the vector that moves it, or the pattern of those that do.
    """

    spec: Spec
    movement: str

    def of(self, value: Update | Partial) -> Update | Partial:
        """The same for what may be a partial result: that is of the whole model already."""
        return value if isinstance(value, Partial) else self.of_update(value)

    def of_update(self, value: Update) -> Update:
        """The update, with a weight for each number where it is of a smaller model.

        Raises:
            UnusableUpdateError: it is not of the numbers that it says.
        """
        ranges = value.ranges
        if ranges is None:
            return value
        try:
            ranges.check(self.spec)
        except ValueError as error:
            raise UnusableUpdateError(str(error)) from error
        vectors, weights = dict(value.vectors), dict(value.weights)
        for name in value.vectors:
            if fnmatchcase(name, self.movement):
                vectors[name], weights[name] = _laid(value, name, ranges.trained(self.spec), self.spec.trainable)
        buffers = self.spec.floats - self.spec.trainable
        if BUFFERS in vectors:
            vectors[BUFFERS], weights[BUFFERS] = _laid(value, BUFFERS, ranges.buffers(self.spec), buffers)
        elif buffers:
            vectors[BUFFERS], weights[BUFFERS] = np.zeros(buffers, self.spec.dtype), np.zeros(buffers)
        return Update(vectors, weights, self._counters(value, ranges), value.count, value.bounds, value.child)

    def _counters(self, value: Update, ranges: ModelRanges) -> npt.NDArray[np.int64]:
        counters, places = np.zeros(self.spec.integers, np.int64), ranges.counters(self.spec)
        if value.counters.shape != places.shape:
            raise UnusableUpdateError(
                f"It has counters of shape {value.counters.shape}, and its smaller model {places.shape}."
            )
        counters[places] = value.counters
        return counters


def _laid(value: Update, name: str, places: Places, size: int) -> tuple[npt.NDArray[Any], Weight]:
    vector, weight = value.vectors[name], value.weights[name]
    if vector.shape != places.shape or getattr(weight, "shape", places.shape) != places.shape:
        raise UnusableUpdateError(
            f"Its vector '{name}' has shape {vector.shape}, and the smaller model that it is of {places.shape}."
        )
    whole, weights = np.zeros(size, vector.dtype), np.zeros(size)
    whole[places], weights[places] = vector, weight
    return whole, weights

"""A cohort's examples and the order in which its devices take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fogline.training.local import ClientJob
from fogline.training.order import Shuffler


@dataclass(slots=True)
class Part:
    """One device's examples on the engine's device."""

    x: Tensor
    y: Tensor

    @property
    def size(self) -> int:
        """Examples."""
        return self.y.shape[0]


@dataclass(slots=True)
class Batch:
    """One step of the first k devices: inputs (k, B, ...) and targets (k, B, ...)."""

    x: Tensor
    y: Tensor
    counts: list[int] | None
    """Per device, how many of its B examples count, the rest being filling; None if all do."""
    weights: Tensor | None
    """(k, B): one over that number, zero for the filling; None if all count."""
    ignores: bool
    """Whether some targets of the cohort have no truth (``IGNORED``)."""


class Cohort:
    """Devices that train together, most steps first, so that those still training come first in memory.

    Args:
        jobs: the devices' jobs, in that order.
        parts: their examples.
        width: examples per step, the same for every cohort of an engine, so that a device's numbers do not
            depend on its company.
        fill: whether a ragged batch is filled up to ``width`` (with the device's first example, at weight
            zero). Without, all devices of the cohort must have the same number of examples.
        ignores: whether some targets have no truth.
        shuffler: draws the orders.
    """

    def __init__(
        self,
        jobs: Sequence[ClientJob],
        parts: Sequence[Part],
        width: int,
        fill: bool,
        ignores: bool,
        shuffler: Shuffler,
    ) -> None:
        self.steps = jobs[0].steps
        self.clients = len(jobs)
        self.device = parts[0].x.device
        self._active = [sum(job.steps > step for job in jobs) for step in range(self.steps)]
        self._x = parts[0].x if len(parts) == 1 else torch.cat([part.x for part in parts])
        self._y = parts[0].y if len(parts) == 1 else torch.cat([part.y for part in parts])
        places, counts = _order(jobs, [part.size for part in parts], width, shuffler)
        self._places = places.to(self.device)
        self._width = width
        self._ignores = ignores
        ragged = (counts < width).any(1)
        self._ragged: list[bool] = ragged.tolist()
        self._counts: list[list[int]] = counts.tolist() if ragged.any() else []
        self._weights = _weights(counts, width).to(self.device) if fill and ragged.any() else None

    def batch(self, step: int) -> Batch:
        """What the devices that still train take in that step."""
        clients = self._active[step]
        places = self._places[step, :clients]
        counts, weights, width = None, None, self._width
        if self._ragged[step] and self._weights is not None:
            counts, weights = self._counts[step][:clients], self._weights[step, :clients]
        elif self._ragged[step]:
            width = self._counts[step][0]
            places = places[:, :width]
        rows = places.reshape(-1)
        x, y = self._x.index_select(0, rows), self._y.index_select(0, rows)
        x, y = x.view(clients, width, *x.shape[1:]), y.view(clients, width, *y.shape[1:])
        return Batch(x, y, counts, weights, self._ignores)


def _order(jobs: Sequence[ClientJob], sizes: list[int], width: int, shuffler: Shuffler) -> tuple[Tensor, Tensor]:
    """Rows of the joined examples (T, K, B), and how many of each batch count (T, K)."""
    steps = jobs[0].steps
    places = np.zeros((len(jobs), steps * width), np.int64)
    counts = np.full((steps, len(jobs)), width)
    offset = 0
    for i, (job, size) in enumerate(zip(jobs, sizes, strict=True)):
        per_epoch = -(-size // width)
        shuffled = shuffler.epochs(job.seed, size)
        for first in range(0, job.steps, per_epoch):
            stop = min(first + per_epoch, job.steps)
            order = next(shuffled)[: (stop - first) * width]
            places[i, first * width : first * width + len(order)] = order
            if len(order) < (stop - first) * width:
                counts[stop - 1, i] = len(order) - (stop - first - 1) * width
        places[i] += offset
        offset += size
    stepwise = places.reshape(len(jobs), steps, width).swapaxes(0, 1)
    return torch.from_numpy(np.ascontiguousarray(stepwise)), torch.from_numpy(counts)


def _weights(counts: Tensor, width: int) -> Tensor:
    counts = counts.unsqueeze(-1)
    return (torch.arange(width) < counts) / counts.double()

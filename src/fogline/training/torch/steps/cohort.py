"""A cohort's examples and the order in which its devices take them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fogline.data.examples import Indices
from fogline.training.local import ClientJob
from fogline.training.shuffling import Shuffler, batches
from fogline.training.torch.outputs.losses import IGNORED

GATHERED = 1 << 18
"""Numbers that are gathered at once: they should stay in the processor's cache until they are used."""


@dataclass(slots=True)
class DeviceExamples:
    """One device's examples on the engine's device."""

    x: Tensor
    y: Tensor
    size: int
    """Examples; there are more, one pass over them after the other, where they are others in each."""
    rows: Indices | None = None
    """Which of them are the device's, where tensors are shared by all devices."""

    @property
    def own(self) -> Tensor:
        """The targets of the device's own examples."""
        return self.y if self.rows is None else self.y[torch.from_numpy(self.rows).to(self.y.device)]

    @property
    def held(self) -> int:
        """Examples of all its passes."""
        return len(self.y) if self.rows is None else self.size

    @property
    def stride(self) -> int:
        """How far on the examples of the next pass lie."""
        return self.size if self.held > self.size else 0


def labels_of(parts: Sequence[DeviceExamples]) -> Tensor:
    """All targets of some devices, one after the other."""
    rows = [part.rows for part in parts if part.rows is not None]
    if rows:
        return parts[0].y.index_select(0, torch.from_numpy(np.concatenate(rows)).to(parts[0].y.device))
    return parts[0].y if len(parts) == 1 else torch.cat([part.y.view(-1) for part in parts])


class Labels(NamedTuple):
    """Targets that are labels, as the formula of the cross-entropy takes them."""

    place: Tensor
    """(k, B, ..., 1) labels."""
    weight: Tensor | float
    """Minus what each counts in its device's mean: (k, B, ..., 1), or one number."""
    slope: Tensor
    """(k, B, ..., C), the weight at the label: the gradient of the devices' losses by the log-probabilities."""


@dataclass(slots=True)
class Batch:
    """One step of the first k devices."""

    x: Tensor
    """(k, B, ...) inputs."""
    y: Tensor
    """(k, B, ...) targets; any label where one does not count."""
    share: Tensor | float
    """What each target's loss counts in its device's mean: shaped like the targets, or one number for all."""
    labels: Labels | None
    """The targets again, if they are labels and these are wanted."""
    truth: Tensor
    """The targets as they are, also where they do not count."""
    counts: list[int] | None
    """Per device, how many of its B examples count, the rest being filling; None if all do."""

    def of(self, members: Sequence[int], rows: Tensor) -> Batch:
        """The same of some devices; ``rows``: their places, as a tensor."""

        def some(tensor: Tensor | float) -> Any:
            return tensor.index_select(0, rows) if isinstance(tensor, Tensor) else tensor

        labels = None if self.labels is None else Labels(*map(some, self.labels))
        counts = None if self.counts is None else [self.counts[member] for member in members]
        return Batch(some(self.x), some(self.y), some(self.share), labels, some(self.truth), counts)

    def for_heads(self, heads: int) -> Batch:
        """The same with each target once for every head: (k, B, heads, ...), of which each counts its part."""

        def spread(tensor: Tensor) -> Tensor:
            return tensor.unsqueeze(2).expand(*tensor.shape[:2], heads, *tensor.shape[2:])

        share = (spread(self.share) if isinstance(self.share, Tensor) else self.share) / heads
        return replace(self, y=spread(self.y), share=share, labels=None)


@dataclass(frozen=True, slots=True)
class Targets:
    """What a loss wants of targets."""

    dtype: torch.dtype
    """The model's type."""
    ignores: bool = False
    """Whether some have no truth (``IGNORED``), and must not count."""
    classes: int | None = None
    """Of how many classes they are labels, if they are wanted as such."""


class Cohort:
    """Devices that train together, most steps first, so that those still training come first in memory.

    Args:
        jobs: the devices' jobs, in that order.
        parts: their examples.
        width: examples per step, the same for every cohort of an engine, so that a device's numbers do not
            depend on its company.
        fill: whether a ragged batch is filled up to ``width`` (with the device's first example, at weight
            zero). Without, all devices of the cohort must have the same number of examples.
        targets: what the loss wants of them.
        shuffler: draws the orders.
        smallest: a last batch of fewer examples joins the one before it; more than 1 only without ``fill``.
        samples: places of each device's examples, step by step, instead of an order of its own: then every example's
            loss counts by itself, and batches are filled up to the largest of a step.
    """

    def __init__(
        self,
        jobs: Sequence[ClientJob],
        parts: Sequence[DeviceExamples],
        width: int,
        fill: bool,
        targets: Targets,
        shuffler: Shuffler,
        smallest: int = 1,
        samples: Sequence[Iterable[Indices]] | None = None,
    ) -> None:
        self.steps = jobs[0].steps
        makes = np.array([job.steps for job in jobs])
        self._active: list[int] = (makes > np.arange(self.steps)[:, None]).sum(1).tolist()
        whole = len(parts) == 1 or parts[0].rows is not None
        self._x = parts[0].x if whole else torch.cat([part.x for part in parts])
        self._y = parts[0].y if whole else torch.cat([part.y for part in parts])
        self._alone = samples is not None
        if samples is not None:
            places, counts = _sampled_order(jobs, samples)
            width = places.shape[2]
        elif smallest > 1:
            places, counts = _joined_order(jobs, parts, width, smallest)
            width += smallest - 1
        else:
            places, counts = _order(jobs, parts, width, shuffler)
        self._places = torch.from_numpy(_rows(places, parts)).to(self._x.device)
        self._width = width
        self._targets = targets
        self._ragged: list[bool] = np.any(counts < width, axis=1).tolist()
        self._counts: list[list[int]] = counts.tolist() if any(self._ragged) else []
        self._fill = fill
        filled = fill and any(self._ragged)
        self._weights = _weights(counts, width, self._alone).to(self._x.device) if filled else None

    def batches(self) -> Iterator[Batch]:
        """What the devices that still train take, step by step.

        Steps that are alike are gathered together: where models are small, the number of operations is what costs.
        """
        numbers = self._width * (self._x[0].numel() + self._y[0].numel() * (self._targets.classes or 1))
        first = 0
        for _, alike in groupby(range(self.steps), lambda step: (self._active[step], self._width_of(step))):
            most = max(1, GATHERED // (self._active[first] * numbers))
            stop = first + len(list(alike))
            for start in range(first, stop, most):
                yield from self._gather(start, min(start + most, stop))
            first = stop

    def _width_of(self, step: int) -> int:
        if self._alone and self._ragged[step]:
            return max(self._counts[step][: self._active[step]])
        return self._counts[step][0] if self._ragged[step] and not self._fill else self._width

    def _gather(self, first: int, stop: int) -> Iterator[Batch]:
        clients = self._active[first]
        places = self._places[first:stop, :clients, : self._width_of(first)]
        rows = places.reshape(-1)
        x = self._x.index_select(0, rows).view(*places.shape, *self._x.shape[1:])
        y = self._y.index_select(0, rows).view(*places.shape, *self._y.shape[1:])
        usable = y.clamp_min(0) if self._targets.ignores else y
        weights = None if self._weights is None else self._weights[first:stop, :clients, : places.shape[2]]
        share = self._share(y, weights)
        labels = self._labels(usable, share) if self._targets.classes else repeat(None)
        targets = usable.unbind()
        truth = targets if usable is y else y.unbind()
        for i, parts in enumerate(zip(x.unbind(), targets, _each(share), labels, truth, strict=False)):
            fills = self._weights is not None and self._ragged[first + i]
            yield Batch(*parts, self._counts[first + i][:clients] if fills else None)

    def _share(self, y: Tensor, weights: Tensor | None) -> Tensor | float:
        """Rounded to the model's type in the end only, so that one number and a tensor of it agree."""
        per_example, spread = math.prod(y.shape[3:]), [1] * (y.ndim - 3)
        if self._targets.ignores:
            known = (y != IGNORED).double()
            if weights is not None:
                known *= (weights > 0).view(*weights.shape, *spread)
            if self._alone:
                share = known / known.view(*y.shape[:3], -1).sum(3).clamp_min(1).view(*y.shape[:3], *spread)
            else:
                share = known / known.flatten(2).sum(2).clamp_min(1).view(*y.shape[:2], 1, *spread)
        elif weights is not None:
            share = (weights / per_example).view(*weights.shape, *spread).expand(y.shape)
        else:
            return 1.0 / (1 if self._alone else y.shape[2]) / per_example
        return share.to(self._targets.dtype)

    def _labels(self, y: Tensor, share: Tensor | float) -> Iterator[Labels]:
        index, weight = y.unsqueeze(-1), -share.unsqueeze(-1) if isinstance(share, Tensor) else -share
        slope = torch.zeros(*y.shape, self._targets.classes or 0, dtype=self._targets.dtype, device=y.device)
        return map(Labels, index.unbind(), _each(weight), slope.scatter_(-1, index, weight).unbind())


def _each(share: Tensor | float) -> Iterable[Tensor | float]:
    """Step by step, where one number is that of all steps."""
    return share.unbind() if isinstance(share, Tensor) else repeat(share)


def _order(
    jobs: Sequence[ClientJob], parts: Sequence[DeviceExamples], width: int, shuffler: Shuffler
) -> tuple[Indices, Indices]:
    """Places among each device's examples (T, K, B), and how many of each batch count (T, K)."""
    steps = jobs[0].steps
    places = np.zeros((len(jobs), steps * width), np.int64)
    counts = np.full((steps, len(jobs)), width)
    for i, (job, part) in enumerate(zip(jobs, parts, strict=True)):
        size, per_epoch = part.size, -(-part.size // width)
        shuffled = shuffler.epochs(job.seed, size, part.stride)
        for first in range(0, job.steps, per_epoch):
            stop = min(first + per_epoch, job.steps)
            order = next(shuffled)[: (stop - first) * width]
            places[i, first * width : first * width + len(order)] = order
            if len(order) < (stop - first) * width:
                counts[stop - 1, i] = len(order) - (stop - first - 1) * width
    return np.ascontiguousarray(places.reshape(len(jobs), steps, width).swapaxes(0, 1)), counts


def _joined_order(
    jobs: Sequence[ClientJob], parts: Sequence[DeviceExamples], width: int, smallest: int
) -> tuple[Indices, Indices]:
    """The same with batches that may be larger by what joins them."""
    places = np.zeros((jobs[0].steps, len(jobs), width + smallest - 1), np.int64)
    counts = np.full((jobs[0].steps, len(jobs)), width)
    for i, (job, part) in enumerate(zip(jobs, parts, strict=True)):
        for step, batch in enumerate(batches(job.seed, part.size, width, job.steps, smallest, part.stride)):
            places[step, i, : len(batch)] = batch
            counts[step, i] = len(batch)
    return places, counts


def _sampled_order(jobs: Sequence[ClientJob], samples: Sequence[Iterable[Indices]]) -> tuple[Indices, Indices]:
    """The same for steps that take as many examples as it happens, or none."""
    drawn = [list(own) for own in samples]
    counts = np.zeros((jobs[0].steps, len(jobs)), np.int64)
    for i, own in enumerate(drawn):
        counts[: len(own), i] = [len(step) for step in own]
    places = np.zeros((*counts.shape, max(1, int(counts.max()))), np.int64)
    for i, own in enumerate(drawn):
        for step, taken in enumerate(own):
            places[step, i, : len(taken)] = taken
    return places, counts


def _rows(places: Indices, parts: Sequence[DeviceExamples]) -> Indices:
    """From places among each device's own examples to rows of the tensors that hold them all."""
    if len(parts) == 1:
        return places if parts[0].rows is None else parts[0].rows[places]
    places = places + np.cumsum([0, *(part.held for part in parts[:-1])])[None, :, None]
    rows = [part.rows for part in parts if part.rows is not None]
    return np.concatenate(rows)[places] if rows else places


def _weights(counts: Indices, width: int, alone: bool) -> Tensor:
    known = torch.from_numpy(counts).unsqueeze(-1)
    return (torch.arange(width) < known) / (1.0 if alone else known.double())

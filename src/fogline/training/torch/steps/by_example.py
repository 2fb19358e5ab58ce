"""A step's sums of clipped gradients, for engines that hold several devices' weights in one tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fogline.training.example_privacy import ExampleDraws, expected_batch
from fogline.training.local import ClientJob, LocalTraining
from fogline.training.torch.steps.clipping import GhostNorms, clip_factors, squares_of, weighted_sum
from fogline.training.torch.steps.cohort import Batch, DeviceExamples, Labels
from fogline.training.torch.steps.loss_gradient import Head, loss_of
from fogline.training.torch.steps.noising import StepNoising
from fogline.training.torch.steps.optimizers import Collect
from fogline.training.torch.steps.program import DrawingProgram, Program
from fogline.training.torch.steps.stacked_weights import rows_of, split_rows
from fogline.training.torch.steps.step_device import StepDevice

Sums = tuple[Tensor, list[Tensor]]
"""Losses (k,) and gradients (k, *shape), each added up over the examples of a step."""


class Clipping(ABC):
    """Clips each example's gradient.

    Args:
        head: losses; every example's counts by itself.
        clip: the norm.
    """

    def __init__(self, head: Head, clip: float) -> None:
        self._head, self._clip = head, clip

    def begin(self, buffers: dict[str, Tensor]) -> None:  # noqa: B027 - one of them keeps nothing
        """New devices, with buffers (K, *shape) that stay as they are."""

    @abstractmethod
    def __call__(
        self, batch: Batch, weights: list[Tensor], devices: Sequence[StepDevice], draws: Sequence[ExampleDraws]
    ) -> Sums:
        """Sums over examples.

        Args:
            batch: of k devices.
            weights: theirs, (k, *shape).
            devices: as the hooks see them, where there are hooks.
            draws: of each device.
        """


class GhostClipping(Clipping):
    """By the norms that one backward pass of all devices gives."""

    def __init__(self, program: DrawingProgram, head: Head, clip: float) -> None:
        super().__init__(head, clip)
        self._program = program

    def __call__(
        self, batch: Batch, weights: list[Tensor], devices: Sequence[StepDevice], draws: Sequence[ExampleDraws]
    ) -> Sums:
        """Examples whose gradients are not finite are left out: they would spoil a sum at factor zero too."""
        seeds = _seeds(self._program, batch, draws)
        losses, ghosts = self._backward(batch, weights, seeds)
        factors = clip_factors(ghosts.squares, self._clip)
        if not bool(factors.all()):
            usable = factors > 0
            x = torch.where(usable.view(*usable.shape, *[1] * (batch.x.ndim - 2)), batch.x, torch.zeros_like(batch.x))
            losses, ghosts = self._backward(replace(batch, x=x), weights, seeds)
            factors = clip_factors(ghosts.squares, self._clip) * usable
        return losses, ghosts.sums(factors)

    def _backward(self, batch: Batch, weights: list[Tensor], seeds: Sequence[int]) -> tuple[Tensor, GhostNorms]:
        ghosts = GhostNorms(weights, batch.x.shape[1])
        self._program.draw_from(seeds, batch.x.device)
        outputs, _ = self._program.forward(weights, batch.x, batch.counts)
        gradient = self._head(outputs, batch)
        self._program.backward(gradient.outputs, None, ghosts)
        return loss_of(gradient.terms), ghosts


class SingleClipping(Clipping):
    """Of one device, each example's gradient by itself: every example is a device of its own, with one batch of one.

    Args:
        program: the model, for several devices.
        head: losses.
        clip: the norm.
    """

    def __init__(self, program: Program, head: Head, clip: float) -> None:
        super().__init__(head, clip)
        self._program = program

    def begin(self, buffers: dict[str, Tensor]) -> None:
        """One device."""
        self._buffers = buffers

    def __call__(
        self, batch: Batch, weights: list[Tensor], devices: Sequence[StepDevice], draws: Sequence[ExampleDraws]
    ) -> Sums:
        """As many gradients as there are examples."""
        count = batch.x.shape[1]
        many = [_repeated(weight, count) for weight in weights]
        buffers = {name: _repeated(buffer, count) for name, buffer in self._buffers.items()}
        self._program.begin(_seeds(self._program, batch, draws), many, buffers)
        outputs, features = self._program.forward(many, batch.x[0].unsqueeze(1))
        gradient = self._head(outputs, _alone(batch), [*devices] * count, features)
        collect = Collect(len(many))
        self._program.backward(gradient.outputs, gradient.features, collect)
        gradients = collect.taken()
        losses = loss_of(gradient.terms).nan_to_num(0.0, 0.0, 0.0)
        return losses.sum(0, keepdim=True), weighted_sum(gradients, clip_factors(squares_of(gradients), self._clip))


class NoisySteps:
    """DP-SGD of devices that step together.

    Args:
        clipping: gives the sums of their examples' clipped gradients.
        local: local training, with privacy.
        jobs: of the devices.
        parts: their examples.
    """

    def __init__(
        self,
        clipping: Clipping,
        local: LocalTraining,
        jobs: Sequence[ClientJob],
        parts: Sequence[DeviceExamples],
    ) -> None:
        assert local.privacy is not None
        self._clipping, self._draws = clipping, [ExampleDraws(job.seed, job.secret) for job in jobs]
        widths = [job.batch_size or local.batch_size for job in jobs]
        self.samples = [
            draws.samples(part.size, width, job.steps, part.stride)
            for draws, part, width, job in zip(self._draws, parts, widths, jobs, strict=True)
        ]
        """Places of each device's examples, step by step."""
        expected = [expected_batch(part.size, width) for part, width in zip(parts, widths, strict=True)]
        self._noising = StepNoising(local.privacy, self._draws, expected)

    def bind(self, devices: Sequence[StepDevice]) -> Callable[[Batch, list[Tensor]], tuple[Tensor, list[Tensor]]]:
        """A function of a step's batch and weights (k, *shape), to its losses (k,) and noisy gradients (k, *shape).

        ``devices``: as the hooks see them, where there are hooks.
        """

        def gather(batch: Batch, weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            clients, count = batch.x.shape[:2]
            if not count:  # No device takes an example: there is noise alone.
                sums = [torch.zeros_like(weight) for weight in weights]
                losses = weights[0].new_zeros(clients)
            else:
                losses, sums = self._clipping(batch, weights, devices, self._draws)
                losses = losses / (losses.new_tensor(batch.counts).clamp_min(1) if batch.counts else count)
            return losses, split_rows(self._noising(rows_of(sums)), weights)

        return gather


def _seeds(program: Program, batch: Batch, draws: Sequence[ExampleDraws]) -> list[int]:
    """For what the model draws, (k B,); none where it draws nothing, or not from generators of its own."""
    if not (isinstance(program, DrawingProgram) and program.draws):
        return []
    clients, width = batch.x.shape[:2]
    counts = batch.counts or [width] * clients
    return [
        seed for count, own in zip(counts, draws, strict=False) for seed in own.seeds(count) + [0] * (width - count)
    ]


def _repeated(one: Tensor, count: int) -> Tensor:
    """(1, *shape) to (count, *shape), without memory of their own."""
    return one.expand(count, *one.shape[1:])


def _alone(batch: Batch) -> Batch:
    """One device's examples as as many devices with one example each."""

    def each(rows: Tensor) -> Tensor:
        return rows[0].unsqueeze(1)

    share = each(batch.share) if isinstance(batch.share, Tensor) else batch.share
    labels = batch.labels
    if labels is not None:
        weight = each(labels.weight) if isinstance(labels.weight, Tensor) else labels.weight
        labels = Labels(each(labels.place), weight, each(labels.slope))
    return Batch(each(batch.x), each(batch.y), share, labels, each(batch.truth), None)

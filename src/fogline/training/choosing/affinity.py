"""Whether a method that says it adjusts gradients in an affine way does so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fogline.params import Vector
from fogline.training.choosing.rehearsal import noisy
from fogline.training.hook_calls import watched
from fogline.training.local import ClientJob
from fogline.training.method import Array, LocalMethod, overrides
from fogline.training.task import Task

SIZES = ((1.0, 1.0, 0.0), (1e3, 1e-3, 1.0), (1e-3, 1e3, 1.0), (1e8, 1e8, 1.0), (1e-8, 1e-8, 1.0))
"""Sizes of gradients and of weights, around zero or around the start: an adjustment may be affine among small ones."""
TOLERANCE = 1e-5
BROKEN = (
    "says affine = True, but its adjust_gradient is not gradient + a * weights + b with a and b free of both: leave "
    "'affine' out, or mend the hook"
)


def broken_claim(task: Task, method: LocalMethod, jobs: Sequence[ClientJob]) -> str | None:
    """Why ``affine = True`` is wrong for that method, as a sentence; None if it is right, or not said.

    Engines read the coefficients off the hook and fuse them into the update, so a wrong claim would make numbers
    depend on the engine. Tried with the devices' states as they are, and as they may become.
    """
    if not (method.affine and overrides(method, "adjust_gradient")):
        return None
    rng, head, shared = np.random.default_rng(0), task.spec.trainable, task.shared.trainable
    kinds = {tuple(job.local): job for job in reversed(jobs)}
    for job in kinds.values():  # Other devices' states are tried as they come: see ``affine``.
        states = (job.local, job.received), (noisy(job.local, shared, 1.0, rng), noisy(job.received, shared, 1.0, rng))
        for local, received in states:
            start = task.array(job.start[:head].astype(np.float64))
            adjustment = _Adjustment(
                watched(method, task.home),
                start,
                {name: task.array(vector) for name, vector in local.items()},
                {name: task.array(vector) for name, vector in received.items()},
            )
            if not all(adjustment.holds(task.array(g), task.array(w)) for g, w in _samples(job.start[:head], rng)):
                return f"Method '{type(method).__name__}' {BROKEN}."
    return None


class _Adjustment:
    """The hook for one device, with the coefficients that engines read off it."""

    def __init__(self, method: LocalMethod, start: Array, local: dict[str, Array], received: dict[str, Array]) -> None:
        self._method, self._state = method, (start, local, received)
        zero = start * 0.0
        self._shift = self._call(zero, zero)
        self._factor = self._call(zero, zero + 1.0) - self._shift

    def _call(self, gradient: Array, weights: Array) -> Array:
        return self._method.adjust_gradient(gradient, weights, *self._state)

    def holds(self, gradient: Array, weights: Array) -> bool:
        """Whether the coefficients tell what it does to these (P,)."""
        pull = self._factor * weights
        told = gradient + pull + self._shift
        size = float(abs(gradient).max() + abs(pull).max() + abs(self._shift).max())
        return float(abs(self._call(gradient, weights) - told).max()) <= TOLERANCE * size


def _samples(start: Vector, rng: np.random.Generator) -> list[tuple[Vector, Vector]]:
    """Gradients and weights of several sizes, the weights around the start and around zero."""
    return [
        (gradient * rng.normal(size=start.shape), weights * rng.normal(size=start.shape) + around * start)
        for gradient, weights, around in SIZES
    ]

"""What a device is asked to train, and what comes back. Common to every backend and engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from fogline.params import Counters, State, Vector
from fogline.settings import LocalSettings
from fogline.training.example_privacy import ExamplePrivacy
from fogline.training.shuffling import cuts


class LocalTraining(LocalSettings):
    """How a device trains: the same for all devices of a job.

    ``epochs`` passes over the device's examples, or, if ``steps`` is given, that many minibatch steps
    (cycling through reshuffled epochs). ``batch_size`` None takes all examples at once.
    The learning rate of round r is ``learning_rate * decay**r``, or with ``schedule="cosine"`` it falls
    to zero over the job's rounds. A last batch of fewer examples than ``smallest_batch`` joins the one before it.
    """

    privacy: ExamplePrivacy | None = None
    """DP-SGD: each step takes each example with the same probability, ``batch_size`` of them on average."""

    def rate(self, round_index: int, rounds: int) -> float:
        """Learning rate of one round (0-based)."""
        if self.schedule == "exponential":
            return self.learning_rate * self.decay**round_index
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1.0 + float(np.cos(np.pi * round_index / max(rounds, 1))))
        return self.learning_rate

    def passes(self, steps: int, batch_size: int | None = None) -> Callable[[int], int]:
        """From a device's number of examples to that of the passes over them that it begins in so many steps.

        ``batch_size``: of a device whose batches are others than the job's.
        """
        size = batch_size or self.batch_size
        return lambda examples: max(1, -(-steps // _per_epoch(examples, size, self.smallest_batch)))

    def step_count(self, examples: int, work: float = 1.0) -> int:
        """Minibatch steps that a device with so many examples makes.

        ``work`` scales the amount for a device that can only do part of it (or more); at least one step.
        """
        if self.steps is not None:
            return max(1, round(self.steps * work))
        per_epoch = _per_epoch(examples, self.batch_size, self.smallest_batch)
        return max(1, round(per_epoch * self.epochs * work))


@cache
def _per_epoch(examples: int, batch_size: int | None, smallest: int) -> int:
    """Batches of a pass: asked for device after device, and many are alike."""
    return len(cuts(examples, batch_size, smallest))


NO_METRICS: Mapping[str, float] = {}


@dataclass(slots=True)
class ClientJob:
    """One device's local training: from which model, with which state, how much of it.

    Vectors are numpy arrays; jobs of one cohort usually share ``start`` and ``received`` (the same object),
    which an engine may use, but must not write to.
    """

    client: int
    """Position in ``data.clients``."""
    start: Vector
    """(floats,) the model received."""
    counters: Counters
    """(integers,) its integer entries."""
    steps: int
    """Minibatch steps to make."""
    learning_rate: float
    seed: int
    """Seeds the order of the examples, dropout and whatever else is random on the device."""
    local: State = field(default_factory=dict)
    """The device's own vectors, after ``method.prepare``."""
    received: State = field(default_factory=dict)
    """What the algorithm sent down beside the model."""
    round: int = 0
    """How many rounds the parent made before."""
    common_seed: int = 0
    """Seeds what is random and the same on all devices of the round."""
    batch_size: int | None = None
    """Examples in a step; None: as local training has it."""
    only: frozenset[str] | None = None
    """Entries that train; None: all."""
    model: Vector | None = None
    """(floats,) the model received, where the method begins elsewhere; None: it begins there."""
    share: float = 1.0
    """Of the model's numbers, how many the device can train at most: below 1, it has a smaller model."""
    secret: bytes | None = field(default=None, repr=False)
    """What DP-SGD's samples and noise come from, known to the device alone; None: from the seed, in a simulation."""
    node: str = ""
    """What the device's parent calls it, where that is not what the data calls it."""


@dataclass(slots=True)
class LocalResult:
    """What local training gave. A failed one carries the reason and no vectors that count."""

    client: int
    end: Vector
    """(floats,) the model after training, in memory that is the caller's to change; of a failed one, its start."""
    counters: Counters
    samples: int
    """Examples on the device: the usual weight of its update."""
    steps: int
    loss: float
    """Mean over the steps of the loss before each step; NaN where a method's own local round tells none."""
    loss_rms: float
    """Root of the mean squared step loss (what Oort's utility uses)."""
    failure: str | None = None
    bound: float | None = None
    """No magnitude in ``end`` exceeds it; None where nobody has looked."""
    metrics: Mapping[str, float] = field(default_factory=lambda: NO_METRICS)
    """What a method's own local round says of itself."""

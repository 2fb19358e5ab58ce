"""DP-SGD's settings, and what a device draws for it.

Abadi et al., "Deep Learning with Differential Privacy" (2016, arXiv 1607.00133), algorithm 1: a step takes each example
by itself with the same probability, scales each one's gradient down to a norm, and adds Gaussian noise to their sum.
The sum is divided by the number of examples that a step is expected to take, which is no secret, and not by that which
it took.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat

from fogline.privacy.accounting.events import Event, Gaussian, Repeated, Sampled
from fogline.privacy.noise.normal import add_normal, poisson_sample

KEY = 32
"""Bytes of a device's secret."""
SEEDS = 0xD5
"""Sets what a model draws apart from what else comes from a device's seed."""


class ExamplePrivacy(BaseModel):
    """What a step makes of its examples' gradients."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: PositiveFloat = 1.0
    """L2 norm that each example's gradient is scaled down to, over all that trains."""
    noise: NonNegativeFloat = 1.0
    """Standard deviation, over ``clip``, of what is added to each number of their sum."""

    def quiet(self, numbers: int) -> ExamplePrivacy:
        """The same with noise that is no longer than one gradient of so many numbers: to compare engines, and no
        promise."""
        return self.model_copy(update={"noise": min(self.noise, numbers**-0.5)})


def sampling_rate(examples: int, batch_size: int | None) -> float:
    """Probability with which a step takes an example."""
    return 1.0 if batch_size is None else min(1.0, batch_size / max(examples, 1))


def expected_batch(examples: int, batch_size: int | None) -> float:
    """How many examples a step takes on average: what the noisy sum is divided by."""
    return float(min(examples, batch_size or examples))


def event_of(privacy: ExamplePrivacy, examples: int, batch_size: int | None, steps: int) -> Event:
    """What so many steps of a device with so many examples come to, for an accountant.

    The neighbour of a data set has, in place of one example, an empty one that moves nothing: how many examples a
    device has is not protected.
    """
    rate, step = sampling_rate(examples, batch_size), Gaussian(privacy.noise)
    return Repeated(step if rate == 1.0 else Sampled(rate, step), steps)


def fresh_secret() -> bytes:
    """A secret for one round of a device, from the operating system's cryptographic source."""
    return secrets.token_bytes(KEY)


class ExampleDraws:
    """What a device draws in a round of DP-SGD.

    Samples and noise must be known to nobody else: who knew which examples a step took, or the noise, would be promised
    less, or nothing.

    Args:
        seed: of the device's round; dropout comes from it.
        secret: :func:`fresh_secret`, on real devices. None: all comes from the seed, for a simulation to repeat.
    """

    def __init__(self, seed: int, secret: bytes | None) -> None:
        from fogline.privacy.noise.source import Source, seeded_key  # Needs a cipher, and most jobs want none.

        source = Source(seeded_key("examples", seed) if secret is None else secret)
        self._samples, self._noise = source.of(b"samples"), source.of(b"noise")
        self._rng = np.random.default_rng((seed, SEEDS))

    def samples(
        self, examples: int, batch_size: int | None, steps: int, stride: int = 0
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Places of the examples of each step.

        ``stride``: how far on the examples lie after as many steps as a pass has, where they are others in each.
        """
        rate, per_pass = sampling_rate(examples, batch_size), math.ceil(examples / (batch_size or examples))
        for step in range(steps):
            yield poisson_sample(self._samples, examples, rate) + step // per_pass * stride

    def add_noise(self, numbers: npt.NDArray[Any], deviation: float, grid: float) -> None:
        """Add the next normal noise to (n,) numbers, and round them to multiples of ``grid``; in place."""
        add_normal(self._noise, numbers, deviation, grid)

    def seeds(self, examples: int) -> list[int]:
        """A seed for each example of the next step, for what a model draws on it: nobody's draws move another's."""
        return self._rng.integers(1 << 63, size=examples).tolist()

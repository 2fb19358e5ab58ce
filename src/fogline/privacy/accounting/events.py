"""What a mechanism did, as an accountant takes it: each is a fact about noise and sampling, without any data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A sum with Gaussian noise, or with discrete noise that is accounted for as such."""

    noise: float
    """Standard deviation of the noise over the L2 norm by which one unit can change the sum."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What happened to a sample in which each unit was, independently, with that probability (Poisson sampling)."""

    rate: float
    event: Event


@dataclass(frozen=True, slots=True)
class Concentrated:
    """Anything that is ``rho``-zCDP (Bun and Steinke, 2016)."""

    rho: float


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same event again and again, each with noise of its own."""

    event: Event
    times: int


Event = Gaussian | Sampled | Concentrated | Repeated

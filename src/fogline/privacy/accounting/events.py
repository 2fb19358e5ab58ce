"""What a mechanism did, as an accountant takes it: each is a fact about noise and sampling, without any data."""

from __future__ import annotations

from typing import Literal

import msgspec

from fogline.governance.policy.terms import Unit

UNITS: tuple[Unit, ...] = ("example", "device", "site")
"""The smallest first: what is promised for a larger one holds for a smaller one too."""
AccountantName = Literal["pld", "rdp", "zcdp"]
"""What adds events up: see :mod:`fogline.privacy.accounting.accountants`."""


class Gaussian(msgspec.Struct, frozen=True, tag=True):
    """A sum with Gaussian noise, or with discrete noise that is accounted for as such."""

    noise: float
    """Standard deviation of the noise over the L2 norm by which one unit can change the sum."""


class Sampled(msgspec.Struct, frozen=True, tag=True):
    """What happened to a sample in which each unit was, independently, with that probability (Poisson sampling)."""

    rate: float
    event: Event


class Concentrated(msgspec.Struct, frozen=True, tag=True):
    """Anything that is ``rho``-zCDP (Bun and Steinke, 2016)."""

    rho: float


class Repeated(msgspec.Struct, frozen=True, tag=True):
    """The same event again and again, each with noise of its own."""

    event: Event
    times: int


Event = Gaussian | Sampled | Concentrated | Repeated

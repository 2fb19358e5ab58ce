"""Noise that devices add in shares, under secure aggregation."""

from __future__ import annotations

import math
from typing import ClassVar

from fogline.parameters import bounded
from fogline.privacy.accounting.events import Concentrated, Event, Repeated
from fogline.privacy.distributed import Kind, SharedNoise
from fogline.privacy.mechanisms.base import Mechanism, Use
from fogline.privacy.mechanisms.registry import MECHANISMS


class SharedMechanism(Mechanism):
    """What both have in common: see :mod:`fogline.privacy.distributed`. The job's exchange makes the noise."""

    distributed: ClassVar[bool] = True
    in_exchange: ClassVar[bool] = True
    kind: ClassVar[Kind]

    left: float = bounded(0.8, gt=0, le=1)
    """Share of a round's devices that must be left: each adds so much noise that theirs is enough. The more may be
    gone, the more noise there is where none is."""

    def shared(self, clip: float, noise: float) -> SharedNoise:
        """What the exchange is told.

        Args:
            clip: L2 norm that an update is scaled down to.
            noise: standard deviation over it.
        """
        return SharedNoise(self.kind, clip, noise, self.left)

    def events(self, noise: float, use: Use) -> tuple[Event, ...]:
        return (Repeated(Concentrated(0.5 / noise**2 if noise else math.inf), use.times),)


@MECHANISMS.add("skellam")
class SkellamMechanism(SharedMechanism):
    """Shares of Skellam noise, whose sums are Skellam noise (Agarwal, Kairouz and Liu, "The Skellam Mechanism for
    Differentially Private Federated Learning", NeurIPS 2021)."""

    kind: ClassVar[Kind] = "skellam"


@MECHANISMS.add("discrete_gaussian")
class DiscreteGaussianMechanism(SharedMechanism):
    """Shares of discrete Gaussian noise, whose sums are nearly such noise (Kairouz, Liu and Steinke, "The Distributed
    Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation", ICML 2021)."""

    kind: ClassVar[Kind] = "discrete_gaussian"

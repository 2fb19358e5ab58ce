"""The Gaussian mechanism."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fogline.params import State
from fogline.privacy.accounting.events import Event, Gaussian, Repeated
from fogline.privacy.mechanisms.base import Integers, Mechanism, Use
from fogline.privacy.mechanisms.registry import MECHANISMS
from fogline.privacy.noise.gaussian import rounded_gaussian

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source


@MECHANISMS.add("gaussian")
class GaussianMechanism(Mechanism):
    """Gaussian noise on every sum, each time anew.

    The mechanism of DP-FedAvg (McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018).
    The noise is rounded to whole steps, as the sum is in whole steps: that is the continuous mechanism, rounded.
    """

    adapts: ClassVar[bool] = True

    def noised(
        self, total: Integers, deviation: float, state: State, source: Source, round: int = 0
    ) -> tuple[Integers, State]:
        total += rounded_gaussian(deviation, total.size, source)
        return total, state

    def events(self, noise: float, use: Use) -> tuple[Event, ...]:
        return (Repeated(Gaussian(noise), use.times),)

"""The contract of a mechanism: what makes noise of a sum, and what that costs.

Everything that it sees is in whole numbers, multiples of one step: the sum of what units have given, each of an L2 norm
of at most the clip, and the standard deviation of the noise that is asked for. What it keeps from one release to the
next is its state: named arrays, which lie with the aggregator's model, in its journal and in a simulation's
checkpoints. Parameters are annotated fields; the class becomes a frozen dataclass by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from fogline.parameters import Parametrised
from fogline.params import State
from fogline.privacy.accounting.events import Event

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans needs no cipher.

Integers = npt.NDArray[np.int64]
"""Whole numbers, (n,), each so many steps."""


@dataclass(frozen=True, slots=True)
class Use:
    """How often something is released, and how often one unit is in it."""

    releases: int
    """Sums that one aggregator gives out."""
    times: int
    """How many of them one unit is in, at most."""
    separation: int = 1
    """How many rounds there are from one of these to the next, at least."""


class Mechanism(Parametrised):
    """One way to make noise."""

    distributed: ClassVar[bool] = False
    """Whether every device adds a share of the noise to what it gives, so that no aggregator sees a sum without it: the
    exchange does that (:class:`fogline.privacy.mechanisms.shared.SharedMechanism`). Else who has the sum adds the noise
    (:meth:`noised`)."""
    in_exchange: ClassVar[bool] = False
    """Whether its sum may come out of an exchange such as secure aggregation, which rounds what units give."""
    adapts: ClassVar[bool] = False
    """Whether the clip may change from one release to the next."""
    remembers: ClassVar[bool] = False
    """Whether it keeps a state. Then a unit cannot make the noise by itself before it sends (``at``)."""

    def noised(
        self, total: Integers, deviation: float, state: State, source: Source, round: int = 0
    ) -> tuple[Integers, State]:
        """A sum with noise, and the state to keep.

        Args:
            total: the sum, (n,), its own to change.
            deviation: standard deviation that is asked for, in steps, at least 0.
            state: what it returned the last time; empty the first time.
            source: of random numbers; where the same sum is noised again after a crash, the same.
            round: of the job, counted from 0, those among them that came to nothing.
        """
        raise NotImplementedError

    def events(self, noise: float, use: Use) -> tuple[Event, ...]:
        """What releases tell of one unit, for an accountant.

        Args:
            noise: standard deviation over the clip.
            use: how often there are any.
        """
        raise NotImplementedError

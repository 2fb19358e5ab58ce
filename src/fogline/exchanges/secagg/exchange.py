"""The exchange as a job names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fogline.aggregation import Arrays, Partial, Update
from fogline.exchanges.base import Exchange, ExchangeError, Received
from fogline.exchanges.registry import EXCHANGES
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.privacy.distributed import SharedNoise
from fogline.privacy.ring import LEAST_WEIGHT

EXACT = 2.0**52
"""Steps up to which a floating-point number tells one from the next."""


@EXCHANGES.add("secagg")
class SecAgg(Exchange):
    """Sums of masked updates, none of which the aggregator can read (Bonawitz et al., CCS 2017).

    Every two members agree on a secret, from which both make the same mask: one adds it to its update, the other
    subtracts it, so that all masks cancel out in the sum. A second mask of its own keeps an update closed if the
    aggregator says that its device was gone when it was not. Members share their secrets among their peers, who give,
    for each member, shares of the one or of the other, never of both, and only after as many as it takes have said that
    they were shown the same list of survivors. Above 100 members each has only some peers, which it draws itself (Bell
    et al., CCS 2020).

    What it protects, and what not, is in ``docs/privacy.md``.
    """

    steps = ("keys", "peers", "shares", "masked", "survivors", "unmask")
    identified: ClassVar[bool] = True
    adds_codes: ClassVar[bool] = True
    only_sums: ClassVar[bool] = True

    threshold: float = bounded(0.6, ge=0.5, lt=1)
    """More than that share of a device's peers is needed to take its masks off: at most the rest may go missing. At
    least 0.5; peers that are in league with the aggregator do no harm up to ``2 * threshold - 1`` of them."""
    bits: int = 32
    """Of the ring that updates are summed in: 16, 32 or 64."""
    clip: float = bounded(16.0, ge=1e-30, le=1e30)
    """The largest magnitude of a number in an update, its buffers and metrics too; a device with a larger one is
    refused. What is more than an update ever has costs precision."""
    weight: float = bounded(10_000.0, ge=LEAST_WEIGHT, le=1e12)
    """The largest weight (mostly: examples) of a device; one with more, or with less than a thousandth of 1 that is
    not 0, is refused."""
    minimum: int = bounded(3, ge=2)
    """Devices (between aggregators: children) without which there is no sum, at least 2. Every one sees to it."""
    sums: float = bounded(2.0**40, ge=1e-30, le=1e30)
    """The largest magnitude of a sum that a device answers to a query or finds of a model; one with a larger one is
    refused, as is an aggregator with one where it adds up with its parent in this exchange. Each child's is rounded to
    a step of about ``sums`` times the children of a round, over 2^62: whole numbers stay as they are."""

    def __post_init__(self) -> None:
        if find_spec("cryptography") is None:
            raise ValueError("Secure aggregation needs the package cryptography: pip install 'fogline[network]'")
        if self.bits not in (16, 32, 64):
            raise ValueError(f"bits is {self.bits}; it must be 16, 32 or 64")
        self._settings.ring(self.minimum)

    def check_cohort(self, cohort: int) -> None:
        self._settings.check_members(cohort, "are asked in a round")
        if self._settings.private is None:
            self._settings.ring(cohort)

    def for_sums(self) -> SecAgg:
        return SumsSecAgg(self.threshold, 64, float(self.sums), 1.0, self.minimum, self.sums)

    def with_noise(self, shared: SharedNoise) -> SecAgg:
        """The same in which each device adds a share of that noise."""
        return PrivateSecAgg(**vars(self), private=shared)

    @property
    def _settings(self) -> SecAggSettings:
        return SecAggSettings(float(self.threshold), self.bits, float(self.clip), float(self.weight), self.minimum)

    def child(self, step: str, state: Received, received: Received) -> tuple[Arrays, Arrays]:
        from fogline.exchanges.secagg.child import STEPS  # It needs a library that who only reads jobs can do without.

        return STEPS[step](self._settings, state, received)

    def parent(
        self, step: str, state: Received, payloads: Mapping[str, Received]
    ) -> tuple[Mapping[str, Arrays], Arrays]:
        from fogline.exchanges.secagg.parent import STEPS

        return STEPS[step](self._settings, state, payloads)

    def form(self, payload: Received) -> tuple[Any, ...] | None:
        from fogline.exchanges.secagg.entering import layout_in

        return layout_in(payload).form

    def result(self, state: Received) -> Update | Partial:
        return Update.from_arrays(state)


class PrivateSecAgg(SecAgg):
    """The same, in which each device adds a share of the noise of differential privacy: a job that names ``skellam`` or
    ``discrete_gaussian`` as its mechanism has this in place of :class:`SecAgg`, with its parameters."""

    private: SharedNoise | None = None
    """What they add."""

    @property
    def _settings(self) -> SecAggSettings:
        return replace(super()._settings, private=self.private)


class SumsSecAgg(SecAgg):
    """The same for what devices answer or find, and aggregators have added up of it: a ring of 64 bits, in which every
    child weighs 1, and what comes out is the sum and no mean. :meth:`SecAgg.for_sums` makes it."""

    @property
    def largest_sum(self) -> float:
        return float(self.clip)

    def child(self, step: str, state: Received, received: Received) -> tuple[Arrays, Arrays]:
        if step == self.steps[0]:
            vectors = Update.from_arrays(state).vectors.values()
            if not all(float(np.abs(vector).max(initial=0.0)) <= self.largest_sum for vector in vectors):
                raise ExchangeError(  # Not how large it is: the parent reads this.
                    f"This node has a sum beyond {self.largest_sum:g}, for which that of all has no room; raise 'sums' "
                    "of the exchange."
                )
        return super().child(step, state, received)

    def result(self, state: Received) -> Update:
        mean = Update.from_arrays(state)
        members = {name: round(float(weight)) for name, weight in mean.weights.items()}  # Each weighs 1.
        vectors = {name: self._total(vector, members[name]) for name, vector in mean.vectors.items()}
        return Update({**vectors}, dict.fromkeys(vectors, 1.0), count=mean.count)

    def _total(self, mean: Vector, members: int) -> npt.NDArray[np.float64]:
        """A sum from its mean. It lies on the steps of the ring, which a division takes it off: whole numbers stay
        whole."""
        scale, total = self._settings.ring(members).scale, mean.astype(np.float64) * members
        steps = total * scale
        return np.where(np.abs(steps) < EXACT, np.rint(steps) / scale, total)

"""Events brought to the few numbers that accountants add up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from fogline.privacy.accounting.events import Concentrated, Event, Gaussian, Repeated, Sampled


@dataclass(slots=True)
class EventTally:
    """What happened in all.

    Sums with Gaussian noise on the same or on different data compose to one with less noise; so they are one number.
    """

    precision: float = 0.0
    """Of the noise of all that was not sampled: the sum of ``1 / noise²``; infinite where there was none."""
    sampled: dict[tuple[float, float], int] = field(default_factory=dict[tuple[float, float], int])
    """How often, by rate and noise."""
    rho: float = 0.0
    """Of what is only known to be zero-concentrated."""

    @property
    def nothing(self) -> bool:
        """Whether nothing was given away."""
        return not (self.precision or self.sampled or self.rho)

    @property
    def everything(self) -> bool:
        """Whether something was given away without noise."""
        return math.isinf(self.precision) or math.isinf(self.rho)

    @property
    def unsampled(self) -> EventTally:
        """The same as if every unit had been in every sample, which gives away no less."""
        more = sum(times / noise**2 for (_, noise), times in self.sampled.items())
        return EventTally(self.precision + more, {}, self.rho)

    def events(self) -> list[Event]:
        """Events that give away the same."""
        events: list[Event] = [Repeated(Sampled(r, Gaussian(noise)), n) for (r, noise), n in self.sampled.items()]
        if self.precision:
            events.append(Gaussian(self.precision**-0.5))
        if self.rho:
            events.append(Concentrated(self.rho))
        return events


def tally(events: Iterable[Event]) -> EventTally:
    """Add events up.

    A sample of a sample is a sample of the product of their rates. What was drawn once and used several times was
    sampled once, with the noise that all uses have together. Where no better is known the sampling counts for nothing,
    which gives away no less.

    Raises:
        ValueError: a number of an event can be none.
    """
    total = EventTally()
    for event in events:
        _add(total, event, 1)
    return total


def _add(total: EventTally, event: Event, times: int) -> None:
    match event:
        case Gaussian(noise=noise):
            _check("noise", noise)
            total.precision += times / noise**2 if noise else math.inf * (times > 0)
        case Concentrated(rho=rho):
            _check("rho", rho)
            total.rho += times * rho
        case Repeated(event=inner, times=more):
            _check("times", more)
            if times * more:
                _add(total, inner, times * more)
        case Sampled(rate=rate, event=inner):
            _check("rate", rate)
            if rate:
                _add_sampled(total, rate, inner, times)


def _add_sampled(total: EventTally, rate: float, inner: Event, times: int) -> None:
    match inner:
        case Sampled(rate=second, event=deeper):
            _check("rate", second)
            if second:
                _add_sampled(total, rate * second, deeper, times)
        case _:
            once = tally([inner])
            if rate >= 1 or once.sampled or once.rho or once.everything:
                _add(total, inner, times)
            elif once.precision:
                key = (rate, once.precision**-0.5)
                total.sampled[key] = total.sampled.get(key, 0) + times


def _check(what: str, number: float) -> None:
    if not number >= 0:
        raise ValueError(f"{what} of an event is {number}; it must be at least 0")

"""A circuit breaker: who does not answer is left alone for a while (Nygard, Release It!, 2007)."""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

import msgspec

State = Literal["closed", "open", "half-open"]


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, and for how long."""

    calls: int = 20
    """How many of the last calls are looked at,"""
    least: int = 5
    """and how many there must be."""
    failed: float = 0.5
    """Share of failed calls that opens it."""
    slow: float = 0.8
    """Share of slow calls, failed ones included, that opens it,"""
    slow_seconds: float = 0.25
    """and what is slow."""
    rest: float = 5.0
    """Seconds that it stays open at first; twice as long after every trial that fails,"""
    longest: float = 60.0
    """up to so many."""


class _Call(NamedTuple):
    failed: bool
    slow: bool


class Breaker:
    """Decides whether a call is worth making. It knows no clock: the time is passed in, in seconds that only rise.

    Closed: calls are made. Open: none is. When it has rested, one call is let through as a trial (half-open): if it
    succeeds in time the breaker closes, if not it opens for twice as long. A trial of which nothing is heard is taken
    for a failure after as long as the rest.

    Args:
        limits: see there.
    """

    def __init__(self, limits: BreakerSettings | None = None) -> None:
        self._limits = limits or BreakerSettings()
        self._calls: deque[_Call] = deque(maxlen=self._limits.calls)
        self._rest = self._limits.rest
        self._until = 0.0
        self.state: State = "closed"

    def allows(self, now: float) -> bool:
        """Whether to call now. Who is told so must tell how it went."""
        if self.state == "closed":
            return True
        if now < self._until:
            return False
        if self.state == "half-open":
            self._open(now)
            return False
        self.state, self._until = "half-open", now + self._rest
        return True

    def succeeded(self, now: float, seconds: float) -> None:
        """A call was answered after so many seconds."""
        self._heard(now, _Call(False, seconds > self._limits.slow_seconds))

    def failed(self, now: float) -> None:
        """A call was not answered, or with nonsense."""
        self._heard(now, _Call(True, True))

    def _heard(self, now: float, call: _Call) -> None:
        if self.state == "half-open":
            if call.slow:
                self._open(now)
            else:
                self._close()
        elif self.state == "closed":
            self._calls.append(call)
            count, limits = len(self._calls), self._limits
            if count >= limits.least and (
                sum(c.failed for c in self._calls) >= limits.failed * count
                or sum(c.slow for c in self._calls) >= limits.slow * count
            ):
                self._open(now)

    def _open(self, now: float) -> None:
        if self.state == "half-open":
            self._rest = min(2 * self._rest, self._limits.longest)
        self.state, self._until = "open", now + self._rest

    def _close(self) -> None:
        self.state, self._rest = "closed", self._limits.rest
        self._calls.clear()

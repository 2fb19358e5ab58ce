"""What a simulated run costs: bytes on every tier's links, joules, and what went wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Traffic:
    """Running totals.

    ``down`` and ``up``: bytes between a tier and its children, by the tier's name.
    ``counts``: late, failed, stale, refused, dropped, left and surplus updates; abandoned rounds.
    """

    down: Counter[str] = field(default_factory=Counter)
    up: Counter[str] = field(default_factory=Counter)
    joules: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    """The first reason seen of each kind, for people."""

    @property
    def bytes(self) -> int:
        """All bytes so far, up and down."""
        return self.down.total() + self.up.total()

    def count(self, what: str, who: str | None = None, why: str | None = None) -> None:
        """Something went wrong, or was in vain."""
        self.counts[what] += 1
        if why is not None and what not in self.reasons:
            self.reasons[what] = f"{who}: {why}" if who else why

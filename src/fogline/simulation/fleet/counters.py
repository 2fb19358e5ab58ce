"""What a simulated run costs: bytes on every tier's links, joules, and what went wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fogline.monitoring.mishaps import Mishaps


@dataclass(slots=True)
class Traffic:
    """Running totals.

    ``down`` and ``up``: bytes between a tier and its children, by the tier's name.
    ``mishaps``: late, failed, stale, refused, dropped, left and surplus updates; abandoned rounds; devices that dropped
    out or went away.
    """

    down: Counter[str] = field(default_factory=Counter)
    up: Counter[str] = field(default_factory=Counter)
    joules: float = 0.0
    mishaps: Mishaps = field(default_factory=Mishaps)
    frozen: int = 0
    """Bytes of the model's frozen entries."""
    _have_frozen: set[str] = field(default_factory=set[str])

    @property
    def bytes(self) -> int:
        """All bytes so far, up and down."""
        return self.down.total() + self.up.total()

    def frozen_for(self, node: str) -> int:
        """Bytes of frozen entries that go with a model to a node: all of them with its first one, then none."""
        if not self.frozen or node in self._have_frozen:
            return 0
        self._have_frozen.add(node)
        return self.frozen

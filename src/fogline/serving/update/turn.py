"""One step of the machine of a model: the state as it changes, and the effects so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from msgspec.structs import replace

from fogline.registry.release import Tier
from fogline.serving.update.effects import Effect
from fogline.serving.update.state import (
    REMEMBERED,
    Attempt,
    HeldVersion,
    ModelNews,
    ModelOnNode,
    RefusedRelease,
    What,
)

FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
"""Seconds before something that could not be had is tried again: doubled each time."""


class Turn(ABC):
    """What all decisions do.

    Args:
        node: the node's name, which decides its place in rings.
        tier: of the node.
        state: of the model.
        now: time of the node's clock, in seconds.
    """

    def __init__(self, node: str, tier: Tier, state: ModelOnNode, now: float) -> None:
        self.node = node
        self.tier: Tier = tier
        self.state = state
        self.now = now
        self.effects: list[Effect] = []

    @abstractmethod
    def pursue(self) -> None:
        """Go for what the newest release says."""

    def set(self, **changes: Any) -> None:
        """Change the state."""
        self.state = replace(self.state, **changes)

    def tell(self, held: HeldVersion | Attempt, what: What, why: str = "") -> None:
        """Say it to people and the cloud, once."""
        news = ModelNews(held.number, held.version, what, why)
        if news not in self.state.news:
            self.set(news=(*self.state.news, news))

    def refuse(self, number: int, version: int, why: str) -> None:
        """Do not try this release again."""
        if not self.state.refuses(number):
            self.set(refused=(*self.state.refused, RefusedRelease(number, version, why))[-REMEMBERED:])


def backoff(tries: int) -> float:
    """Seconds to wait after so many failures."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 20))


def known(held: HeldVersion | None) -> HeldVersion:
    """A version that must be there at this step."""
    assert held is not None
    return held

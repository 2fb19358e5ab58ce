"""One step of the machine of a model: the state as it changes, and the effects so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from msgspec.structs import replace

from fogline.registry.release import NodeKind
from fogline.retries import UPDATE_AGAIN
from fogline.serving.update.effects import Effect, SetRetryTimer
from fogline.serving.update.events import Timer
from fogline.serving.update.state import (
    REMEMBERED,
    Attempt,
    HeldVersion,
    ModelNews,
    ModelOnNode,
    RefusedRelease,
    What,
)


class Turn(ABC):
    """What all decisions do.

    Args:
        node: the node's name, which decides its place in rings.
        tier: of the node.
        state: of the model.
        now: time of the node's clock, in seconds.
    """

    def __init__(self, node: str, tier: NodeKind, state: ModelOnNode, now: float) -> None:
        self.node = node
        self.tier: NodeKind = tier
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

    def retry_later(self, timer: Timer, tries: int) -> None:
        """Try it again when it is time, after so many failures."""
        self.effects.append(SetRetryTimer(timer, self.now + UPDATE_AGAIN.after(tries)))

    def refuse(self, number: int, version: int, why: str) -> None:
        """Do not try this release again."""
        if not self.state.refuses(number):
            self.set(refused=(*self.state.refused, RefusedRelease(number, version, why))[-REMEMBERED:])


def known(held: HeldVersion | None) -> HeldVersion:
    """A version that must be there at this step."""
    assert held is not None
    return held

"""What the server asks of others: who watches a version, and who answers when it is unsure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fogline.inference.card import Card
from fogline.inference.runtimes.base import Array, Locate
from fogline.registry.release import NodeKind, Vitals

Outputs = Mapping[str, Array]


class AnswerHook(Protocol):
    """Sees what a version answers; one per version that is served."""

    def saw(
        self, inputs: Mapping[str, Array], outputs: Outputs, seconds: float, request: str = "", offloaded: int = 0
    ) -> bool:
        """A request was answered; whether there is something to look at. It is called before the answer goes out, so it
        must be quick."""
        ...

    def look(self) -> bool:
        """Look at a piece of it; whether more is left. It is called between requests, so it must be short."""
        ...

    def failed(self) -> None:
        """A request could not be answered."""
        ...

    def compared(self, agreed: int, total: int) -> None:
        """This version, a shadow, agreed on so many examples with the one that is served."""
        ...

    def label(self, request: str, labels: Sequence[int | float]) -> int:
        """The truth about an earlier request; for how many of its examples it was of use."""
        ...

    def take(self) -> Vitals:
        """All since the last call."""
        ...


class ImprovedAnswer(Protocol):
    """An answer, with what tiers above made of it."""

    @property
    def outputs(self) -> Outputs:
        """Outputs for all examples of the request."""
        ...

    @property
    def tier(self) -> NodeKind:
        """The highest tier that answered one of the examples."""
        ...

    @property
    def model(self) -> str:
        """Name of that tier's model."""
        ...

    @property
    def version(self) -> int:
        """Version of that tier's model."""
        ...

    @property
    def offloaded(self) -> int:
        """Examples that a tier above answered."""
        ...

    @property
    def why(self) -> str:
        """Why one that should have did not."""
        ...


class OffloadHook(Protocol):
    """Asks the tier above; one per version that has a cascade."""

    def unsure(self, outputs: Outputs) -> Array | None:
        """Places of the examples to send up; None: the version is sure of all."""
        ...

    async def improve(
        self, inputs: Mapping[str, Array], outputs: Outputs, unsure: Array, left: float, hops: int
    ) -> ImprovedAnswer:
        """The answer with those examples answered above, as far as that succeeds.

        It has ``left`` seconds, for a request that came over so many ``hops``.
        """
        ...


@dataclass(frozen=True)
class Hooks:
    """Who makes them, for a version; None where there is none."""

    watch: Callable[[Card, Locate], AnswerHook | None] = lambda card, locate: None
    offloader: Callable[[Card], OffloadHook | None] = lambda card: None

"""What a selection policy is, and what it may know of an aggregator's children."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from fogline.errors import InputError
from fogline.parameters import check_when_made


class SelectionPolicyError(InputError, ValueError):
    """A policy that does not exist, or a parameter that it cannot take. The text is one sentence."""


@dataclass(slots=True)
class Feedback:
    """What came of a selection."""

    samples: int
    """Examples the child trained on."""
    loss_rms: float | None
    """Root mean square of its examples' losses, if it says so."""
    seconds: float
    """From the request to the report, or to giving the child up."""
    failed: bool
    """Whether it brought nothing."""
    training: float | None = None
    """Seconds of them that it trained, if it says so."""
    effort: float = 1.0
    """Of a round's work, how much it was asked for."""
    late: bool = False
    """Whether its round was over before it came, or it was given up with its round."""


class Candidates(Protocol):
    """The children as an aggregator shows them. Every call is O(1)."""

    deadline: float
    """Seconds that a round may take."""

    def __len__(self) -> int: ...

    def at(self, i: int, /) -> str:
        """The ``i``-th child; the order is the same for all callers until a child joins or leaves."""
        ...

    def samples(self, child: str, /) -> int:
        """Examples it holds; 0 where it does not say."""
        ...

    def seconds(self, child: str, /) -> float | None:
        """Expected duration of a round, as told or as measured; None if nobody knows yet."""
        ...

    def available(self, child: str, now: float, /) -> bool:
        """Whether it can be reached then. A ``now`` in the future asks for a forecast."""
        ...

    def free(self, child: str, /) -> bool:
        """Whether it is not training already."""
        ...


class Selection(ABC):
    """Selects children. Same calls with the same random source, same picks: nothing else is drawn from."""

    needs_loss: ClassVar[bool] = False
    """Whether it is blind without ``Feedback.loss_rms``."""
    partial: ClassVar[bool] = False
    """Whether it asks for more or less work than a round means, so that its children must be devices."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_when_made(cls)

    @abstractmethod
    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        """At most ``k`` distinct children that are free and available at ``now`` (seconds), the first first.

        ``round`` counts from 0. Fewer come back only where fewer are fit.
        """

    def efforts(self, children: Sequence[str]) -> Sequence[float]:
        """Of a round's work, how much each of the selected children is asked for; empty: all of it."""
        return ()

    def has_turn(self, child: str, round: int) -> bool:
        """Whether a child may be asked in that round at all, wherever it is and whoever else is there."""
        return True

    def observe(self, child: str, feedback: Feedback, round: int) -> None:  # noqa: B027
        """Learn what came of selecting ``child`` in that round. Most policies need not."""

"""A request for a prediction and its answer, whatever they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fogline.inference.runtimes.base import Array


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that is asked for."""

    name: str
    binary: bool = False
    classes: int = 0
    """The best so many classes as text, instead of the tensor; 0: the tensor."""


@dataclass(slots=True)
class Ask:
    """A request, decoded and checked."""

    inputs: dict[str, Array]
    wanted: Sequence[Wanted]
    rows: int = 1
    id: str = ""


@dataclass(slots=True)
class Answer:
    """What a model gives, and who it was."""

    outputs: Mapping[str, Array]
    tier: str
    version: int
    offloaded: int = 0
    """Examples that a tier above answered."""
    why: str = ""
    """Why one that should have did not."""

"""A request for a prediction and its answer, whatever they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fogline.inference.card import PersonalOrigin
from fogline.inference.runtimes.base import Array
from fogline.registry.release import NodeKind


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that is asked for."""

    name: str
    binary: bool = False
    classes: int = 0
    """The best so many classes as text, instead of the tensor; 0: the tensor."""


@dataclass(slots=True)
class InferenceRequest:
    """A request, decoded and checked."""

    inputs: dict[str, Array]
    wanted: Sequence[RequestedOutput]
    rows: int = 1
    id: str = ""


@dataclass(slots=True)
class InferenceResponse:
    """What a model gives, and who it was."""

    outputs: Mapping[str, Array]
    tier: NodeKind
    """The highest that answered an example,"""
    model: str
    version: int
    """and its model and version."""
    offloaded: int = 0
    """Examples that a tier above answered."""
    why: str = ""
    """Why not all that should have been were; empty where they were."""
    personal: PersonalOrigin | None = None
    """Where the part of this device's version comes from that is its own; None: it answers as all that have it."""

    def notes(self) -> dict[str, str | int]:
        """What a response says about it, beside the outputs."""
        made: dict[str, str | int] = {"tier": self.tier, "version": self.version}
        if self.personal is not None:
            made["personal"] = str(self.personal)
        if self.offloaded or self.why:
            made["offloaded"] = self.offloaded
        if self.offloaded:
            made["model"] = self.model
        if self.why:
            made["why"] = self.why
        return made

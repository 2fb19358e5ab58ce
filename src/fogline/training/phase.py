"""A part of a device's round that an engine trains by itself: a method may ask for several, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import dataclass

from fogline.params import State, Vector


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPhase:
    """What a method asks an engine for; what is left out is as in a round of one phase.

    Buffers (running means) and what stays on the device go on from the phase before; where ``start`` is given, shared
    buffers are the received ones again.
    """

    start: Vector | None = None
    """(P,) where it starts; None: where the phase before ended, and the first where the round starts."""
    steps: int | None = None
    """Minibatch steps; None: all of the plan."""
    learning_rate: float | None = None
    only: Collection[str] | None = None
    """Names of the entries that train, or patterns (``"head.*"``), private ones too; the others stay. None: all."""
    local: State | None = None
    """What the hooks of a step see as the device's state; None: what the device keeps."""


Phases = Generator[TrainingPhase, Vector, "State | None"]
"""Yields phases, gets where each ended, (P,), and returns what the device keeps, as ``report`` sees it (None: what it
kept before). What is reported is the movement of the last phase from where the round started."""

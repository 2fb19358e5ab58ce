"""What an attack is, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy.typing as npt

from fogline.errors import FoglineError

Outcome = Literal["leaks", "hints", "holds", "not applicable"]
"""``leaks``: the attack came through; ``hints``: it is better than a guess; ``holds``: it is not."""


class NotApplicableError(FoglineError, ValueError):
    """An attack has nothing to work on in this job; the text says why."""


def sentence(error: NotApplicableError) -> str:
    """What it says, as a sentence."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


@dataclass(frozen=True, slots=True, eq=False)
class Rebuilt:
    """An example, and what an attack made of an update to stand for it."""

    original: npt.NDArray[Any]
    """(...), as the model takes it."""
    rebuilt: npt.NDArray[Any]
    psnr: float
    """Decibels."""
    ssim: float | None
    """None where the example is no picture of at least three by three."""
    recovered: bool
    """Whether it is much nearer to the original than anything known without the update."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one attack found from one place."""

    attack: str
    place: str
    """The tier that saw it, or ``model``: whoever gets the models."""
    outcome: Outcome
    words: str
    """A sentence for people."""
    examples: int | None = None
    """What each device had in that trial; None: its own data."""
    devices: int = 1
    """Whose updates are one in what was seen."""
    measures: Mapping[str, float] = field(default_factory=dict[str, float])
    rebuilt: tuple[Rebuilt, ...] = ()

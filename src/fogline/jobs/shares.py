"""How much of the model each device trains, where devices are unequal."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveFloat

from fogline.jobs.checked import StrictModel
from fogline.jobs.units import size

Share = Annotated[float, Field(gt=0, le=1)]


class Shares(StrictModel):
    """Which share of the model's trained numbers a device has at most. One that nothing here is said of has all."""

    called = "shares"

    devices: Mapping[str, Share] = Field(default_factory=dict)
    """By a pattern of names: ``{"phone-*" = 0.25}``. The first that fits counts, and nothing else then."""
    speed: PositiveFloat | None = None
    """Training speed of a device that has the whole model, in examples per second of a model of 1 MFLOP per example; a
    slower one has a share in proportion."""
    memory: Annotated[int, BeforeValidator(size), Field(ge=1)] | None = None
    """Memory of a device that has the whole model, in bytes or ``"2GB"``; one with less has a share in proportion."""
    least: Share = 0.05
    """The share of the slowest and the smallest."""

    @property
    def given(self) -> bool:
        """Whether it says that some device has less than the whole model."""
        return bool(self.devices) or self.speed is not None or self.memory is not None

    def of(self, client: str, speed: float | None, memory: float | None) -> float:
        """The share of a device.

        Args:
            client: its name.
            speed: as measured, in the same unit; None: not known.
            memory: in bytes; None: not known.
        """
        for pattern, share in self.devices.items():
            if fnmatchcase(client, pattern):
                return share
        share = 1.0
        if self.speed is not None and speed is not None:
            share = min(share, speed / self.speed)
        if self.memory is not None and memory is not None:
            share = min(share, memory / self.memory)
        return max(share, self.least)

"""Links between aggregators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fogline.jobs.units import seconds
from fogline.simulation.profiles.rates import rate, seconds_per_byte

Rate = Annotated[float, BeforeValidator(rate), Field(gt=0, allow_inf_nan=False)]


class LinkProfile(BaseModel):
    """What a job's ``[links]`` table says of every link between an aggregator and its parent.

    ``up`` and ``down`` in bytes per second or as ``"100Mbit"``, ``rtt`` in seconds or as ``"20ms"``, ``loss`` as
    a share of packets (see :func:`seconds_per_byte`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    up: Rate = 12.5e6
    down: Rate = 12.5e6
    rtt: Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False)] = 0.02
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def link(self) -> Link:
        """The link that the profile describes, ready for use."""
        up = seconds_per_byte(self.up, self.rtt, self.loss)
        return Link(up, seconds_per_byte(self.down, self.rtt, self.loss), self.rtt / 2)


@dataclass(frozen=True, slots=True)
class Link:
    """One link: seconds per byte up and down, and seconds one way for the first."""

    up: float
    down: float
    one_way: float

    def seconds(self, size_bytes: float, upward: bool) -> float:
        """How long that many bytes take, towards the root or away from it."""
        return self.one_way + size_bytes * (self.up if upward else self.down)

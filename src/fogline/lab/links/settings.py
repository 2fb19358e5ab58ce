"""What a link does to packets, as a lab file or a command says it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fogline.jobs.units import seconds
from fogline.lab.errors import LabError, sentence
from fogline.lab.presets import LINK_PRESETS
from fogline.simulation.profiles.rates import rate

MEASURED = "measured"
"""The trace that means the measured 4G and 5G traces among the data sets."""


def _size(value: object) -> object:
    """Bytes from a number or from ``"64kB"``."""
    if isinstance(value, str) and value.endswith("bit"):
        raise ValueError(f"'{value}' is no size; write bytes, or one such as '64kB'")
    return rate(value)


def _none(value: object) -> object:
    """TOML has no null: ``"none"`` is None."""
    return None if value == "none" else value


Rate = Annotated[float, BeforeValidator(rate), Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False)]
Size = Annotated[float, BeforeValidator(_size), Field(gt=0, allow_inf_nan=False)]
OrNone = BeforeValidator(_none)


class OneWay(BaseModel):
    """One direction of a link."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: Annotated[Rate | None, OrNone] = None
    """Bytes per second, or text such as ``"10Mbit"``; None is unlimited."""
    delay: Seconds = 0.0
    """Seconds one way, or ``"20ms"``."""
    jitter: Seconds = 0.0
    """Seconds: each packet's delay is drawn evenly from ``delay - jitter`` to ``delay + jitter``."""
    reorder: bool = False
    """Whether jitter may let packets overtake each other."""
    loss: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of packets lost, at random, after they took their time on the link."""
    queue: Annotated[Size | None, OrNone] = None
    """Bytes (or ``"64kB"``) that wait before the link; more are dropped at the tail. None: a fifth of a second at
    the link's rate, at least 20 full packets."""
    partition: bool = False
    """Drops everything."""
    trace: Annotated[str | None, OrNone] = None
    """File whose rates and delays the link follows in a loop (see ``traces.read_trace``), or ``"measured"``."""
    start: Annotated[Seconds | None, OrNone] = None
    """Second of the trace to begin at; None draws it by the lab's seed."""

    @model_validator(mode="after")
    def _one_rate(self) -> OneWay:
        if self.trace is not None and {"rate", "trace"} <= self.model_fields_set and self.rate is not None:
            raise ValueError("the trace gives the rate; leave 'rate' or 'trace' out")
        return self


class LinkTable(OneWay):
    """Keys for both directions of a link; ``up`` (towards the parent) and ``down`` differ from them."""

    preset: str | None = None
    """A named set of figures, below the table's own keys."""
    up: OneWay = OneWay()
    down: OneWay = OneWay()

    @model_validator(mode="after")
    def _known_preset(self) -> LinkTable:
        if self.preset is not None:
            LINK_PRESETS.find(self.preset)  # There is one, or it says so.
        return self


class Both(BaseModel):
    """What a link does in each of its two directions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    up: OneWay = OneWay()
    down: OneWay = OneWay()


def read_table(raw: Mapping[str, Any], place: str) -> LinkTable:
    """A checked table of link settings.

    Raises:
        LabError: a key or a value is wrong; one sentence that names it.
    """
    try:
        return LinkTable.model_validate(raw)
    except ValidationError as error:
        raise LabError(sentence(error, place, list(LinkTable.model_fields))) from None


def change(link: Both, table: LinkTable, folder: Path) -> Both:
    """A link with a table's keys on top of what it had: the preset's, then the table's, then each direction's.

    Args:
        folder: what a trace's path is relative to.
    """
    changed: dict[str, OneWay] = {}
    for side in ("up", "down"):
        one: OneWay = getattr(link, side)
        if table.preset is not None:
            one = _over(one, OneWay.model_validate(LINK_PRESETS.find(table.preset).thing()[side]), folder)
        one = _over(one, table, folder)
        changed[side] = _over(one, getattr(table, side), folder)
    return Both(**changed)


def _over(base: OneWay, given: OneWay, folder: Path) -> OneWay:
    said = {name: getattr(given, name) for name in given.model_fields_set & set(OneWay.model_fields)}
    if "rate" in said and "trace" not in said:
        said["trace"] = None  # The rate that was said last holds.
    trace: str | None = said.get("trace")
    if trace is not None:
        said["trace"] = trace if trace == MEASURED else str(folder / trace)
        said["rate"] = None
    return base.model_copy(update=said)

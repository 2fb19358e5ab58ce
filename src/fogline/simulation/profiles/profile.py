"""What a job's ``[devices]`` table says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from fogline.jobs.units import seconds
from fogline.simulation.profiles.availability import Availability
from fogline.simulation.profiles.distribution import Distribution, constant
from fogline.simulation.profiles.presets import DEVICE_PRESETS
from fogline.simulation.profiles.rates import inside, rate

Rates = Annotated[Distribution, BeforeValidator(inside(rate))]
Durations = Annotated[Distribution, BeforeValidator(inside(seconds))]
Table = Mapping[str, tuple[float, ...]]

POSITIVE = ("speed", "up", "down")
DRAWN = ("speed", "memory_mb", "up", "down", "rtt", "loss", "compute_watts", "radio_joules_per_mb")
"""Quantities that a table may give."""
LINKS = ("up", "down", "rtt", "loss")


def _none(value: object) -> object:
    """TOML has no null: ``"none"`` is None, as everywhere in a job."""
    return None if value == "none" else value


class DeviceProfile(BaseModel):
    """How the devices of a fleet differ. The defaults are those of the preset ``equal``.

    ``DeviceProfile.model_validate("phones")`` and ``{"preset": "phones", "dropout": 0.1}`` work too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = ""
    """Where the figures come from, for reports."""
    speed: Distribution = constant(10_000.0)
    """Training throughput: examples per second of a model that takes 1 MFLOP per example, forward and backward."""
    memory_mb: Distribution = constant(4096.0)
    up: Rates = constant(125e6)
    """Bytes per second towards the aggregator, or text such as ``"10Mbit"``."""
    down: Rates = constant(125e6)
    rtt: Durations = constant(0.0)
    """Seconds there and back, or text such as ``"40ms"``."""
    loss: Distribution = constant(0.0)
    """Share of packets lost; what it does to a transfer: see ``rates.seconds_per_byte``."""
    availability: Availability = "always"
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that a device that started never reports."""
    compute_watts: Distribution = constant(5.0)
    """While it trains, above idle."""
    radio_joules_per_mb: Distribution = constant(0.5)
    """Per 10^6 bytes, sent or received."""
    jitter: Annotated[float, Field(ge=0, le=3)] = 0.0
    """Sigma of lognormal factors of median 1, one on a device's speed and one on its bandwidths."""
    tables: tuple[Table, ...] = ()
    """Joint draws: each table gives columns of equal length under names of quantities; a device takes one row of
    each table instead of drawing those quantities. Base units only."""
    traces: Annotated[str | None, BeforeValidator(_none)] = None
    """Folder or zip of bandwidth traces (see ``traces.read_traces``) that replace up, down, rtt and loss."""
    trace_uplink: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_none)] = 0.2
    """Uplink as a share of the traced downlink; None replays the traced uplink, which carried only
    acknowledgements."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, value: object) -> object:
        if isinstance(value, str):
            return DEVICE_PRESETS.find(value).thing()
        if isinstance(value, Mapping) and "preset" in value:
            table = dict(cast("Mapping[str, object]", value))
            name = table.pop("preset")
            base = DEVICE_PRESETS.find(str(name)).thing()
            return {**without(base, table), **table}
        return cast("object", value)

    @field_validator(*POSITIVE)
    @classmethod
    def _positive(cls, value: Distribution) -> Distribution:
        if value.least <= 0:
            raise ValueError("must be above 0 for every device")
        return value

    @field_validator("loss")
    @classmethod
    def _below_one(cls, value: Distribution) -> Distribution:
        if value.most >= 1:
            raise ValueError("must be a share below 1 for every device; use a constant, uniform or choice")
        return value

    @field_validator("tables")
    @classmethod
    def _joint(cls, value: tuple[Table, ...]) -> tuple[Table, ...]:
        for table in value:
            unknown = sorted(set(table) - set(DRAWN))
            if unknown:
                raise ValueError(f"'{unknown[0]}' is no quantity; columns may be {', '.join(DRAWN)}")
            if len({len(column) for column in table.values()}) != 1 or not all(table.values()):
                raise ValueError("the columns of a table must be of one length, at least 1")
            for name, column in table.items():
                low = min(column)
                if not low >= 0 or (name in POSITIVE and low == 0) or max(column) == float("inf"):
                    raise ValueError(f"the column '{name}' has a value out of range: {low:g}")
                if name == "loss" and max(column) >= 1:
                    raise ValueError("the column 'loss' must hold shares below 1")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> DeviceProfile:
        given = [name for table in self.tables for name in table]
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise ValueError(f"two tables give '{twice[0]}'; leave one out")
        if self.traces is not None:
            spoken = sorted({*self.model_fields_set, *given} & set(LINKS))
            if spoken:
                raise ValueError(f"the traces give the bandwidth; leave '{spoken[0]}' or 'traces' out")
        return self


def without(base: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    """A preset less the columns of its tables that are given anew."""
    kept = dict(base)
    tables = cast("tuple[Table, ...]", kept.get("tables", ()))
    trimmed = tuple({n: c for n, c in table.items() if n not in overrides} for table in tables)
    if tables:
        kept["tables"] = tuple(table for table in trimmed if table)
    return kept

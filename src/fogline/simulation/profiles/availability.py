"""When devices are there. The day repeats; time 0 is midnight, all times in seconds."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Annotated, Literal, Protocol, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from fogline.simulation.profiles.distribution import Distribution, constant

DAY = 86400.0
HOUR = 3600.0
ALL_HOURS = (1 << 24) - 1
Probability = Annotated[float, Field(ge=0, le=1)]


class Diurnal(BaseModel):
    """Each device is there once a day for a stretch of its own: ``{diurnal = {share = 0.4, spread = 3}}``.

    The middle of the stretch is normal around ``peak`` with ``spread`` hours of standard deviation, on the
    clock's circle. Phones charge and idle at night (Yang et al., WWW 2021, figure 3): hence the default peak.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: Distribution = constant(0.4)
    """Of the day that a device is there, 0 to 1."""
    spread: Annotated[float, Field(ge=0, le=24)] = 3.0
    peak: Annotated[float, Field(ge=0, lt=24)] = 2.0
    """Hour of the day."""


class DiurnalTable(BaseModel):
    """The form of :class:`Diurnal` in a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    diurnal: Diurnal


class Hourly(BaseModel):
    """Share of devices that are there in each hour of the day: ``{hourly = [24 numbers]}``.

    Which ones is drawn once per device and hour, and is the same every day. A device for which no hour came up
    is never there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hourly: tuple[Probability, ...]

    @field_validator("hourly")
    @classmethod
    def _whole_day(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) != 24:
            raise ValueError(f"give 24 shares, one per hour, not {len(value)}")
        return value


def _form(value: object) -> str | None:
    if value == "always":
        return "always"
    keys = cast("Mapping[object, object]", value) if isinstance(value, Mapping) else ()
    if "diurnal" in keys or isinstance(value, DiurnalTable):
        return "diurnal"
    return "hourly" if "hourly" in keys or isinstance(value, Hourly) else None


Availability = Annotated[
    Annotated[Literal["always"], Tag("always")]
    | Annotated[DiurnalTable, Tag("diurnal")]
    | Annotated[Hourly, Tag("hourly")],
    Discriminator(
        _form,
        custom_error_type="availability",
        custom_error_message="write 'always', {diurnal = {share = ..., spread = hours}} or {hourly = [24 shares]}",
    ),
]


class Calendar(Protocol):
    """When the devices of a fleet are there."""

    always: bool

    def available(self, device: int, now: float) -> bool:
        """Whether the device is there at that time."""
        ...

    def next_available(self, device: int, now: float) -> float:
        """The first time from ``now`` on at which it is; infinite if never. O(1)."""
        ...

    def next_away(self, device: int, now: float) -> float:
        """The first time from ``now`` on at which it is not there; infinite if never. O(1)."""
        ...


def calendar(availability: Availability, count: int, rng: np.random.Generator) -> Calendar:
    """Draw when each of ``count`` devices is there."""
    if isinstance(availability, DiurnalTable):
        return Stretches(availability.diurnal, count, rng)
    if isinstance(availability, Hourly):
        return Hours(availability.hourly, count, rng)
    return Always()


class Always:
    """Every device is there all the time."""

    always = True

    def available(self, device: int, now: float) -> bool:
        """Whether the device is there: it always is."""
        return True

    def next_available(self, device: int, now: float) -> float:
        """When the device is there next: at once."""
        return now

    def next_away(self, device: int, now: float) -> float:
        """When the device goes away next: never."""
        return math.inf


class Stretches:
    """One stretch a day for each device, in whole seconds: so that sums of days are exact."""

    always = False

    def __init__(self, profile: Diurnal, count: int, rng: np.random.Generator) -> None:
        length = np.clip(np.rint(profile.share.draw(count, rng) * DAY), 0, DAY)
        middle = profile.peak * HOUR + rng.standard_normal(count) * (profile.spread * HOUR)
        start = np.mod(np.rint(middle - length / 2), DAY)
        self._start = array("i", start.astype(np.int32).tobytes())
        self._length = array("i", length.astype(np.int32).tobytes())

    def available(self, device: int, now: float) -> bool:
        """Whether the device is there at that time."""
        return (now - self._start[device]) % DAY < self._length[device]

    def next_available(self, device: int, now: float) -> float:
        """The first time from ``now`` on at which it is; infinite if never."""
        start, length = self._start[device], self._length[device]
        days, since = divmod(now - start, DAY)
        if since < length:
            return now
        return start + (days + 1.0) * DAY if length else math.inf

    def next_away(self, device: int, now: float) -> float:
        """The first time from ``now`` on at which it is not there; infinite if never."""
        start, length = self._start[device], self._length[device]
        days, since = divmod(now - start, DAY)
        if since >= length:
            return now
        return start + days * DAY + length if length < DAY else math.inf


class Hours:
    """A bit for each hour of the day and device."""

    always = False

    def __init__(self, shares: tuple[float, ...], count: int, rng: np.random.Generator) -> None:
        bits = np.zeros(count, np.int32)
        for hour, (share, source) in enumerate(zip(shares, rng.spawn(24), strict=True)):
            bits |= (source.random(count) < share).astype(np.int32) << hour
        self._bits = array("i", bits.tobytes())

    def available(self, device: int, now: float) -> bool:
        """Whether the device is there at that time."""
        return self._bits[device] >> int(now % DAY // HOUR) & 1 == 1

    def next_available(self, device: int, now: float) -> float:
        """The first time from ``now`` on at which it is; infinite if never."""
        return _next(self._bits[device], now)

    def next_away(self, device: int, now: float) -> float:
        """The first time from ``now`` on at which it is not there; infinite if never."""
        return _next(~self._bits[device] & ALL_HOURS, now)


def _next(bits: int, now: float) -> float:
    """The first time from ``now`` on in an hour whose bit is set."""
    days, since = divmod(now, DAY)
    hour = int(since // HOUR)
    if bits >> hour & 1:
        return now
    if not bits:
        return math.inf
    later = bits >> hour
    if later:
        return days * DAY + (hour + _lowest(later)) * HOUR
    return (days + 1.0) * DAY + _lowest(bits) * HOUR


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1

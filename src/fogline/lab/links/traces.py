"""Links that follow a recording: rows of seconds, rate and delay, over and over."""

from __future__ import annotations

import csv
import io
import random
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fogline.data.loaders.folder import find_root
from fogline.jobs.units import seconds
from fogline.lab.errors import LabError
from fogline.lab.links.settings import MEASURED
from fogline.simulation.profiles.presets.phones import DATA_SET, TRACES
from fogline.simulation.profiles.rates import rate

KILOBIT = 125.0
UPLINK = 0.2
"""Our assumption, as in the simulator: the measured uplinks carried only acknowledgements, so the uplink is a share
of the downlink."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    """For so many seconds, so many bytes per second (0: nothing moves), and seconds one way (None: as set)."""

    seconds: float
    rate: float
    delay: float | None


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of a link: rows of time, rate and delay for each direction."""

    up: tuple[TraceRow, ...]
    down: tuple[TraceRow, ...]


def read_trace(path: str, draw: random.Random) -> Recording:
    """The recording in a file, or one of those in a zip.

    A csv file has the columns ``seconds,rate`` and perhaps ``delay`` (one way), with values such as
    ``1s,10Mbit,20ms``, for both directions; or it is of the 5G data set (Raca et al., MMSys 2020), a row a second
    with ``DL_bitrate`` in kbit/s and ``PINGAVG`` in ms. From a zip, ``draw`` picks one of the downloads.

    Args:
        path: of the csv or zip; ``"measured"`` is the 5G data set below ``FOGLINE_DATA``.

    Raises:
        LabError: there is no such file, or it holds no trace; one sentence.
    """
    place = find_root() / DATA_SET / TRACES if path == MEASURED else Path(path)
    if not place.is_file():
        hint = "; set FOGLINE_DATA to the folder of the data sets" if path == MEASURED else ""
        raise LabError(f"There is no trace at '{place}'{hint}.")
    if place.suffix != ".zip":
        return _parse(str(place), place.read_text(encoding="utf-8"))
    return _from_zip(str(place), draw)


def _from_zip(place: str, draw: random.Random) -> Recording:
    names = _names(place)
    if not names:
        raise LabError(f"There is no csv file in '{place}'.")
    return _member(place, names[draw.randrange(len(names))])


@lru_cache(maxsize=4)
def _names(place: str) -> list[str]:
    try:
        with zipfile.ZipFile(place) as archive:
            names = [name for name in archive.namelist() if name.endswith(".csv") and "__MACOSX" not in name]
    except (OSError, zipfile.BadZipFile) as wrong:
        raise LabError(f"The traces at '{place}' cannot be read: {wrong}.") from None
    return sorted(name for name in names if "Download" in Path(name).parts) or sorted(names)


@lru_cache(maxsize=64)
def _member(place: str, name: str) -> Recording:
    with zipfile.ZipFile(place) as archive:
        return _parse(name, archive.read(name).decode("utf-8"))


def _parse(name: str, text: str) -> Recording:
    rows = list(csv.DictReader(io.StringIO(text)))
    try:
        recording = _phone(rows) if rows and "DL_bitrate" in rows[0] else _plain(rows)
    except (KeyError, ValueError, TypeError) as wrong:
        raise LabError(f"The file '{name}' is no trace of seconds, rate and delay: {wrong}.") from None
    for side in (recording.up, recording.down):
        if not any(row.rate > 0 for row in side) or not all(row.seconds > 0 and row.rate >= 0 for row in side):
            raise LabError(f"The trace '{name}' needs rows of more than 0 seconds, some with a rate above 0.")
    return recording


def _plain(rows: list[dict[str, str]]) -> Recording:
    both = tuple(
        TraceRow(_float(seconds(row["seconds"])), _float(rate(row["rate"])), _delay(row.get("delay"))) for row in rows
    )
    return Recording(both, both)


def _delay(cell: str | None) -> float | None:
    return _float(seconds(cell)) if cell else None


def _float(value: object) -> float:
    if not isinstance(value, float):
        raise ValueError(f"{value!r} is no number")
    return value


def _phone(rows: list[dict[str, str]]) -> Recording:
    down: list[TraceRow] = []
    for row in rows:
        bits, ping = row["DL_bitrate"], row["PINGAVG"]
        delay = None if ping in ("-", "") else float(ping) / 2000.0
        down.append(TraceRow(1.0, 0.0 if bits in ("-", "") else KILOBIT * float(bits), delay))
    up = tuple(TraceRow(row.seconds, UPLINK * row.rate, row.delay) for row in down)
    return Recording(up, tuple(down))

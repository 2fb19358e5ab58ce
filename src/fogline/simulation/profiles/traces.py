"""Measured links: bandwidth second by second, looped."""

from __future__ import annotations

import csv
import io
import zipfile
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from statistics import median

from fogline.simulation.profiles.errors import ProfileError

KILOBIT = 125.0
USUAL_PING = 0.07
"""Seconds; the median over the traces that have pings."""


class Series:
    """What a link carries, second by second, over and over.

    Args:
        rates: bytes in each second; some of them above 0.
    """

    def __init__(self, rates: list[float]) -> None:
        self.length = len(rates)
        self._sums = array("d", accumulate(rates, initial=0.0))
        self.total = self._sums[-1]

    def seconds(self, size: float, at: float) -> float:
        """How long ``size`` bytes take from ``at`` (seconds, any): the wait until the link has carried them.

        O(log length): sums are looked up, not added.
        """
        if size <= 0:
            return 0.0
        length, sums = self.length, self._sums
        at %= length
        second = int(at)
        before = sums[second] + (sums[second + 1] - sums[second]) * (at - second)
        loops, rest = divmod(before + size, self.total)
        if rest <= 0.0:
            loops, rest = loops - 1.0, self.total
        i = bisect_left(sums, rest) - 1
        return loops * length + i + (rest - sums[i]) / (sums[i + 1] - sums[i]) - at


@dataclass(frozen=True, slots=True)
class Trace:
    """One drive or stay with a phone that was downloading."""

    name: str
    down: Series
    up: Series
    rtt: float
    """Median ping in seconds."""


@cache
def read_traces(path: str) -> tuple[Trace, ...]:
    """The traces below a folder or in a zip, in the format of Raca et al., "Beyond Throughput, The Next
    Generation: A 5G Dataset with Channel and Context Metrics", MMSys 2020: one row a second with ``DL_bitrate``
    and ``UL_bitrate`` in kbit/s and ``PINGAVG`` in ms, ``-`` where missing.

    Only files below a folder ``Download`` are read, if there is one: the others are of video players, which
    pause when their buffer is full, so that their bitrate says nothing of the link.

    Raises:
        ProfileError: there are none, or a file is of another format; one sentence.
    """
    files = dict(_files(Path(path)))
    downloads = {name: text for name, text in files.items() if "Download" in Path(name).parts}
    traces = [_trace(name, text) for name, text in sorted((downloads or files).items())]
    carrying = tuple(trace for trace in traces if trace.down.total > 0 and trace.up.total > 0)
    if not carrying:
        raise ProfileError(f"There is no bandwidth trace at '{path}'; give a folder or zip of csv files.")
    return carrying


def _files(path: Path) -> Iterator[tuple[str, str]]:
    if path.is_dir():
        for file in path.rglob("*.csv"):
            yield str(file.relative_to(path)), file.read_text(encoding="utf-8")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".csv") and not name.startswith("__MACOSX"):
                    yield name, archive.read(name).decode("utf-8")
    except (OSError, zipfile.BadZipFile) as wrong:
        raise ProfileError(f"The traces at '{path}' cannot be read: {wrong}.") from None


def _trace(name: str, text: str) -> Trace:
    rows = csv.reader(io.StringIO(text))
    try:
        header = next(rows)
        down, up, ping = (header.index(column) for column in ("DL_bitrate", "UL_bitrate", "PINGAVG"))
        cells = [(row[down], row[up], row[ping]) for row in rows]
        pings = [float(row[2]) for row in cells if row[2] not in ("-", "")]
        rates = [[KILOBIT * _number(row[i]) for row in cells] for i in (0, 1)]
    except (StopIteration, ValueError, IndexError) as wrong:
        raise ProfileError(f"The file '{name}' is no bandwidth trace: {wrong}.") from None
    return Trace(name, Series(rates[0]), Series(rates[1]), median(pings) / 1000.0 if pings else USUAL_PING)


def _number(cell: str) -> float:
    return 0.0 if cell in ("-", "") else float(cell)

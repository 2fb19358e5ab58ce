"""How a figure is spread over devices, from sums: no device is named, and no figure of one leaves an aggregator alone.

Every device counts its figure into one of fixed bins, and adds it to the bin's sum. Bins are as wide as 1 % of the
figures in them, for any size and sign of figures, so that aggregators need not agree on a range. Mean and standard
deviation come from sums and are exact. The worst tenth is exact but for the one bin that it ends in, whose devices
count as if they all had the bin's mean: that is off by less than 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

WIDTH = math.log(1.01)
COUNT, SUM, SQUARES = "devices", "devices/sum", "devices/squares"
BIN_COUNT, BIN_SUM = "bin/", "bin-sum/"


Bin = tuple[float, int]
"""The mean of the figures of devices that fare alike, and how many these are."""


class SpreadOver(NamedTuple):
    """A figure over devices."""

    mean: float
    worst_decile: float
    """Mean over the tenth that fares worst, at least one."""
    std: float
    bins: tuple[Bin, ...]
    """The worst first."""


def spread_sums(figure: float) -> dict[str, float]:
    """One device's part of the sums. The figure must be finite."""
    place = bin_of(figure)
    return {
        COUNT: 1.0,
        SUM: figure,
        SQUARES: figure * figure,
        f"{BIN_COUNT}{place}": 1.0,
        f"{BIN_SUM}{place}": figure,
    }


def bin_of(figure: float) -> str:
    """The bin of a figure: its sign, and how often 1 % was added to 1."""
    if figure == 0.0:
        return "0"
    return f"{'-' if figure < 0 else '+'}{math.floor(math.log(abs(figure)) / WIDTH)}"


def is_spread(name: str) -> bool:
    """Whether sums of that name are of the spread."""
    return name in (COUNT, SUM, SQUARES) or name.startswith((BIN_COUNT, BIN_SUM))


def spread_of(sums: Mapping[str, float], higher_is_better: bool) -> SpreadOver | None:
    """The spread that sums tell of; None if no device is in them, or nothing but how many are."""
    devices = sums.get(COUNT, 0.0)
    if devices < 1 or SUM not in sums:
        return None
    mean = sums[SUM] / devices
    bins: list[Bin] = []
    for name, count in sums.items():
        if name.startswith(BIN_COUNT) and count >= 1:
            total = sums.get(f"{BIN_SUM}{name.removeprefix(BIN_COUNT)}", 0.0)
            bins.append((total / count, round(count)))
    bins.sort(reverse=not higher_is_better)
    std = math.sqrt(max(0.0, sums[SQUARES] / devices - mean * mean))
    return SpreadOver(mean, _worst(bins, max(1, int(devices) // 10)), std, tuple(bins))


def _worst(bins: list[Bin], devices: int) -> float:
    """Mean over so many of the devices that fare worst."""
    total, left = 0.0, devices
    for mean, count in bins:
        taken = min(count, left)
        total, left = total + taken * mean, left - taken
        if not left:
            break
    return total / devices

"""Bandwidths as people write them, and quantities with units inside of distributions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import cast

PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
RATE = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([kMG]?)(bit|B)?(?:/s|ps)?\s*")


def rate(value: object) -> object:
    """Bytes per second from a number or from text such as ``"10Mbit"`` or ``"2 MB/s"``; others pass through.

    Raises:
        ValueError: the text is no number with a known unit.
    """
    if not isinstance(value, str):
        return value
    match = RATE.fullmatch(value)
    if match is None or (match[2] and not match[3]) or match[1].count(".") > 1:
        raise ValueError(f"'{value}' is no bandwidth; write bytes per second, or one such as '10Mbit' or '2MB'")
    return float(match[1]) * PREFIXES[match[2]] * (0.125 if match[3] == "bit" else 1.0)


def inside(convert: Callable[[object], object]) -> Callable[[object], object]:
    """``convert`` for a value, or for every value within a table or a list that describes a distribution."""

    def walk(value: object) -> object:
        if isinstance(value, Mapping):
            table = cast("Mapping[object, object]", value)
            return {key: walk(item) for key, item in table.items()}
        if isinstance(value, list | tuple):
            return [walk(item) for item in cast("list[object]", value)]
        return convert(value)

    return walk


SEGMENT = 1460.0
"""Bytes of payload in a TCP segment over Ethernet."""


def seconds_per_byte(bandwidth: float, rtt: float, loss: float) -> float:
    """Seconds that a byte takes on a link.

    Lost packets are sent again, which leaves ``1 - loss`` of the bandwidth, and they hold TCP back to
    ``segment / rtt * sqrt(3 / (2 loss))`` bytes per second (Mathis et al., "The Macroscopic Behavior of the TCP
    Congestion Avoidance Algorithm", CCR 1997, equation 3 with C = sqrt(3/2)).

    Args:
        bandwidth: bytes per second.
        rtt: seconds there and back.
        loss: share of packets lost, below 1.
    """
    if loss <= 0.0:
        return 1.0 / bandwidth
    held_back = rtt / SEGMENT * math.sqrt(2.0 * loss / 3.0)
    return max(1.0 / (bandwidth * (1.0 - loss)), held_back)

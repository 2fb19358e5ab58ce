"""How long bytes take to and from the devices of a fleet."""

from __future__ import annotations

from array import array
from typing import Literal, Protocol

import numpy as np

from fogline.simulation.profiles.distribution import Floats, pick
from fogline.simulation.profiles.rates import SEGMENT
from fogline.simulation.profiles.traces import read_traces


class Carrier(Protocol):
    """The links of all devices. Seconds, for a size in bytes from a time on."""

    def down_seconds(self, device: int, size: float, now: float) -> float:
        """Seconds that bytes take towards the device."""
        ...

    def up_seconds(self, device: int, size: float, now: float) -> float:
        """Seconds that bytes take from the device."""
        ...


class Steady:
    """Each device's link is as it is: half a round trip, then so many seconds per byte."""

    def __init__(self, up: Floats, down: Floats, rtt: Floats, loss: Floats) -> None:
        self._up = column(_seconds_per_byte(up, rtt, loss))
        self._down = column(_seconds_per_byte(down, rtt, loss))
        self._one_way = column(rtt / 2)

    def down_seconds(self, device: int, size: float, now: float) -> float:
        """Seconds that bytes take towards the device."""
        return self._one_way[device] + size * self._down[device]

    def up_seconds(self, device: int, size: float, now: float) -> float:
        """Seconds that bytes take from the device."""
        return self._one_way[device] + size * self._up[device]


class TracedCarriers:
    """Each device replays one of the traces from a second of its own.

    Args:
        path: of the traces.
        uplink: share of the traced downlink that goes up; None replays the traced uplink.
        count: devices.
        rng: draws traces and seconds.
    """

    def __init__(self, path: str, uplink: float | None, count: int, rng: np.random.Generator) -> None:
        traces = read_traces(path)
        self._down = [trace.down for trace in traces]
        self._up = [trace.up if uplink is None else trace.down for trace in traces]
        self._grow = 1.0 if uplink is None else 1.0 / uplink
        self._one_way = [trace.rtt / 2 for trace in traces]
        trace_source, second_source = rng.spawn(2)
        which = pick(len(traces), count, trace_source)
        lengths = np.array([series.length for series in self._down], float)
        self._which = array("i", which.tobytes())
        self._from = column(second_source.random(count) * lengths[which])

    def down_seconds(self, device: int, size: float, now: float) -> float:
        """Seconds that bytes take towards the device."""
        trace = self._which[device]
        return self._one_way[trace] + self._down[trace].seconds(size, now + self._from[device])

    def up_seconds(self, device: int, size: float, now: float) -> float:
        """Seconds that bytes take from the device."""
        trace = self._which[device]
        return self._one_way[trace] + self._up[trace].seconds(size * self._grow, now + self._from[device])


def column(values: Floats, kind: Literal["d", "f"] = "d") -> array[float]:
    """Values for reading one by one, in double or single precision: faster than from a numpy array."""
    made = array(kind)
    made.frombytes(values.astype(kind, copy=False).tobytes())
    return made


def _seconds_per_byte(bandwidth: Floats, rtt: Floats, loss: Floats) -> Floats:
    """:func:`fogline.simulation.profiles.rates.seconds_per_byte` for many; it is where the formula is explained."""
    held_back = rtt / SEGMENT * np.sqrt(2.0 * loss / 3.0)
    return np.maximum(1.0 / (bandwidth * (1.0 - loss)), held_back)

"""A fleet: devices drawn from a profile."""

from __future__ import annotations

import zlib

import numpy as np

from fogline.simulation.profiles.availability import calendar
from fogline.simulation.profiles.carriers import Carrier, Steady, TracedCarriers, column
from fogline.simulation.profiles.distribution import Distribution, Floats, pick
from fogline.simulation.profiles.profile import DRAWN, LINKS, DeviceProfile

MASK = (1 << 64) - 1
MEGABYTE = 1e6


class Fleet:
    """Devices 0 to ``count - 1``. Every call is O(1), or O(log) on traces, and about a microsecond at most.

    The same profile and seed give the same devices, whatever else is drawn; a larger fleet begins with the
    devices of a smaller one. Each quantity has a random source of its own, so changing one leaves the others.
    """

    def __init__(self, profile: DeviceProfile, count: int, seed: int) -> None:
        self.count = count
        self.profile = profile
        draw = _Draws(profile, count, seed)
        self._speed = column(draw("speed"))
        self._memory = column(draw("memory_mb"), "f")
        self.watts = column(draw("compute_watts"), "f")
        """Power while it trains, by device."""
        self.joules_per_byte = column(draw("radio_joules_per_mb") / MEGABYTE, "f")
        """Energy of a byte sent or received, by device."""
        carrier = _carrier(profile, draw)
        self.down_seconds, self.up_seconds = carrier.down_seconds, carrier.up_seconds
        """(device, bytes, now) to seconds that so many bytes take to it, or from it: half a round trip and the
        transfer."""
        days = calendar(profile.availability, count, draw.source("availability"))
        self.always_available = days.always
        """Whether nobody is ever away: then there is no need to ask."""
        self._available, self._next, self._next_away = days.available, days.next_available, days.next_away
        self.loses = profile.dropout > 0 or not days.always
        """Whether a device that began may never report."""
        self._threshold = int(profile.dropout * (MASK + 1))
        self._key = int(draw.source("dropout").integers(1 << 63))

    @staticmethod
    def draw(profile: DeviceProfile, count: int, seed: int) -> Fleet:
        """``count`` devices. A million take under a second and under 100 MB.

        Raises:
            ProfileError: the profile's traces cannot be read; one sentence.
        """
        return Fleet(profile, count, seed)

    def train_seconds(self, device: int, examples: int, cost: float = 1.0) -> float:
        """How long it trains.

        Args:
            device: which.
            examples: steps times batch size in all.
            cost: MFLOP per example, forward and backward.
        """
        return examples * cost / self._speed[device]

    def available(self, device: int, now: float) -> bool:
        """Whether it is there; 0 is midnight."""
        return self._available(device, now)

    def next_available(self, device: int, now: float) -> float:
        """The first time from ``now`` on at which it is there; infinite if never."""
        return self._next(device, now)

    def next_away(self, device: int, now: float) -> float:
        """The first time from ``now`` on at which it is not there; infinite if never."""
        return self._next_away(device, now)

    def drops_out(self, device: int, attempt: int) -> bool:
        """Whether its training number ``attempt`` (from 0) never reports; a matter of seed, device and attempt.

        The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014) over their sum with odd multipliers.
        """
        if not self._threshold:
            return False
        z = (self._key + device * 0x9E3779B97F4A7C15 + attempt * 0xD1B54A32D192ED03) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31) < self._threshold

    def joules(self, device: int, train_seconds: float, bytes_moved: float) -> float:
        """Energy of so much training and so many bytes, sent and received."""
        return train_seconds * self.watts[device] + bytes_moved * self.joules_per_byte[device]

    def speed_hint(self, device: int) -> float:
        """Examples per second at 1 MFLOP each."""
        return self._speed[device]

    def memory_mb(self, device: int) -> float:
        """Memory of a device in MB."""
        return self._memory[device]


class _Draws:
    """Draws quantities by name, each from a source of its own."""

    def __init__(self, profile: DeviceProfile, count: int, seed: int) -> None:
        self.profile = profile
        self.count = count
        self._seed = seed
        self._tables = {name: i for i, table in enumerate(profile.tables) for name in table}

    def source(self, name: str) -> np.random.Generator:
        """The random source of a name."""
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])

    def __call__(self, name: str) -> Floats:
        values = self._plain(name)
        if self.profile.jitter and name in ("speed", "up", "down"):
            shared = "jitter of speed" if name == "speed" else "jitter of links"
            values *= np.exp(self.source(shared).standard_normal(self.count) * self.profile.jitter)
        return values

    def _plain(self, name: str) -> Floats:
        place = self._tables.get(name)
        if place is None:
            assert name in DRAWN
            distribution: Distribution = getattr(self.profile, name)
            return distribution.draw(self.count, self.source(name))
        values = np.array(self.profile.tables[place][name])
        return values[pick(len(values), self.count, self.source(f"table {place}"))]


def _carrier(profile: DeviceProfile, draw: _Draws) -> Carrier:
    if profile.traces is not None:
        return TracedCarriers(profile.traces, profile.trace_uplink, draw.count, draw.source("traces"))
    up, down, rtt, loss = (draw(name) for name in LINKS)
    return Steady(up, down, rtt, loss)

"""One direction of a link: a queue, a rate, a delay, and the ways to lose a packet."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

from fogline.lab.links.settings import OneWay
from fogline.lab.loop import EventLoop

QUEUE_SECONDS = 0.2
LEAST_QUEUE_PACKETS = 20


@dataclass(slots=True)
class Counters:
    """What happened in one direction of a link. Bytes are of IP packets, headers included."""

    packets: int = 0
    """That went onto the link, those lost on it included: what a provider bills."""
    bytes: int = 0
    lost: int = 0
    """Packets lost at random."""
    dropped: int = 0
    """Packets that found the queue full."""
    cut: int = 0
    """Packets that a partition took."""


class Channel:
    """Takes packets from one node and delivers them to another, later or never.

    Args:
        loop: of the emulator.
        deliver: writes a packet to the receiving node.
        rng: for loss and jitter.
        mtu: bytes of a full packet.
    """

    __slots__ = (
        "_deliver", "_flying", "_head_left", "_last_due", "_loop", "_queue", "_queued", "_room", "_round", "_settings",
        "_started", "counters", "delay", "mtu", "rate", "rng",
    )  # fmt: skip

    def __init__(self, loop: EventLoop, deliver: Callable[[bytes], None], rng: random.Random, mtu: int) -> None:
        self._loop, self._deliver, self.rng, self.mtu = loop, deliver, rng, mtu
        self.counters = Counters()
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._flying = 0
        self._last_due = 0.0
        self._head_left = 0.0
        self._started = 0.0
        self._round = 0
        self.apply(OneWay())

    def apply(self, settings: OneWay) -> None:
        """Behave so from now on. Packets under way keep their delay."""
        self._settings = settings
        self.pace(settings.rate, settings.delay)
        if settings.partition:
            self._cut_queue()

    def pace(self, rate: float | None, delay: float) -> None:
        """Another rate (bytes per second; None is unlimited; 0 holds packets back) and delay (seconds)."""
        now = self._loop.now
        if self._queue:
            self._head_left = max(0.0, self._head_left - (self.rate or 0.0) * (now - self._started))
        self.rate, self.delay = rate, delay
        given = self._settings.queue
        wanted = given if given is not None else max(LEAST_QUEUE_PACKETS * self.mtu, QUEUE_SECONDS * (rate or 0.0))
        self._room = float("inf") if rate is None else max(wanted, self.mtu)
        if self._queue:
            self._carry(now)

    def send(self, packet: bytes) -> None:
        """Take a packet from the sending node."""
        if self._settings.partition:
            self.counters.cut += 1
        elif self.rate is None and not self._queue:
            self._fly(packet, self._loop.now)
        elif self._queued + len(packet) > self._room:
            self.counters.dropped += 1
        else:
            self._queue.append(packet)
            self._queued += len(packet)
            if len(self._queue) == 1:
                self._head_left = len(packet)
                self._carry(self._loop.now)

    def _carry(self, start: float) -> None:
        """Plan when the first packet of the queue will be on the link."""
        self._started = start
        self._round += 1
        if self.rate is None:
            self._loop.at(start, self._carried, (start, self._round))
        elif self.rate > 0.0:
            due = start + self._head_left / self.rate
            self._loop.at(due, self._carried, (due, self._round))

    def _carried(self, planned: tuple[float, int]) -> None:
        due, plan = planned
        if plan != self._round or not self._queue:
            return  # The rate changed or the queue was cut since.
        packet = self._queue.popleft()
        self._queued -= len(packet)
        self._fly(packet, due)
        if self._queue:
            self._head_left = len(self._queue[0])
            # From when it was due, not from now: lateness of this process must not add up.
            self._carry(due)

    def _fly(self, packet: bytes, now: float) -> None:
        """The packet is on the link: lose it, or deliver it after the delay."""
        settings, counters = self._settings, self.counters
        counters.packets += 1
        counters.bytes += len(packet)
        if settings.loss and self.rng.random() < settings.loss:
            counters.lost += 1
            return
        due = now + self.delay
        if settings.jitter:
            due = max(now, due + self.rng.uniform(-settings.jitter, settings.jitter))
        if not settings.reorder:
            due = self._last_due = max(due, self._last_due)
        if due <= self._loop.now and not self._flying:
            self._deliver(packet)
        else:
            self._flying += 1
            self._loop.at(due, self._arrive, packet)

    def _arrive(self, packet: bytes) -> None:
        self._flying -= 1
        if self._settings.partition:
            self.counters.cut += 1
        else:
            self._deliver(packet)

    def _cut_queue(self) -> None:
        self.counters.cut += len(self._queue)
        self._queue.clear()
        self._queued = 0

    def figures(self) -> dict[str, int]:
        """The counters, for an answer."""
        return asdict(self.counters)

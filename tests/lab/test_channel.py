"""What a link does to packets, on a clock of the test's own."""

from __future__ import annotations

import random
from heapq import heappop
from typing import Any

import pytest

from fogline.lab.links.channel import Channel
from fogline.lab.links.follower import Follower
from fogline.lab.links.settings import OneWay
from fogline.lab.links.traces import TraceRow
from fogline.lab.loop import EventLoop

PACKET = bytes(1000)


class Clock(EventLoop):
    """A loop whose time is told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def run_to(self, end: float) -> None:
        due: list[tuple[float, int, Any, Any]] = self._due
        while due and due[0][0] <= end:
            self.now, _, action, what = heappop(due)
            action(what)
        self.now = end


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.arrived: list[tuple[float, bytes]] = []
        self.channel = Channel(self.clock, self._deliver, random.Random(1), 1000)
        self.set(**settings)

    def set(self, **settings: Any) -> None:
        self.channel.apply(OneWay(**settings))

    def _deliver(self, packet: bytes) -> None:
        self.arrived.append((self.clock.now, packet))

    @property
    def times(self) -> list[float]:
        return [round(at, 6) for at, _ in self.arrived]


def test_packets_take_their_time_on_the_link_and_then_the_delay() -> None:
    bench = Bench(rate=1000, delay=0.5)
    for _ in range(3):
        bench.channel.send(PACKET)
    bench.clock.run_to(9)
    assert bench.times == [1.5, 2.5, 3.5]


def test_a_full_queue_drops_at_the_tail() -> None:
    bench = Bench(rate=1000, queue=3000)
    for i in range(5):
        bench.channel.send(bytes([i]) * 1000)
    bench.clock.run_to(9)
    assert [packet[0] for _, packet in bench.arrived] == [0, 1, 2]
    assert bench.channel.counters.dropped == 2
    assert bench.channel.counters.bytes == 3000


def test_a_new_rate_holds_for_the_rest_of_the_packet_on_the_link() -> None:
    bench = Bench(rate=1000)
    bench.channel.send(PACKET)
    bench.channel.send(PACKET)
    bench.clock.run_to(0.5)
    bench.set(rate=100)
    bench.clock.run_to(4)
    assert bench.times == []
    bench.clock.run_to(5.5)
    assert bench.times == [5.5]
    bench.set(rate=None)
    bench.clock.run_to(5.6)
    assert bench.times == [5.5, 5.5]


@pytest.mark.parametrize("reorder", [False, True])
def test_jitter_reorders_only_where_allowed(reorder: bool) -> None:
    bench = Bench(delay=0.1, jitter=0.05, reorder=reorder)
    for i in range(100):
        bench.clock.run_to(i * 0.001)
        bench.channel.send(bytes([i]) * 20)
    bench.clock.run_to(9)
    order = [packet[0] for _, packet in bench.arrived]
    assert len(order) == 100
    assert (order != sorted(order)) is reorder


def test_a_shorter_delay_does_not_let_packets_overtake() -> None:
    bench = Bench(delay=1.0)
    bench.channel.send(b"first")
    bench.set(delay=0.0)
    bench.channel.send(b"second")
    bench.clock.run_to(2)
    assert [packet for _, packet in bench.arrived] == [b"first", b"second"]


def test_loss_is_a_share_and_repeats_by_seed() -> None:
    lost = []
    for _ in range(2):
        bench = Bench(loss=0.1)
        for _ in range(5000):
            bench.channel.send(PACKET)
        lost.append(bench.channel.counters.lost)
    assert lost[0] == lost[1]
    assert 400 < lost[0] < 600


def test_a_partition_takes_what_waits_and_what_is_under_way() -> None:
    bench = Bench(rate=1000, delay=5.0)
    for _ in range(3):
        bench.channel.send(PACKET)
    bench.clock.run_to(1.5)
    bench.set(rate=1000, partition=True)
    bench.channel.send(PACKET)
    bench.clock.run_to(9)
    assert bench.arrived == []
    assert bench.channel.counters.cut == 4
    bench.set(rate=1000)
    bench.channel.send(PACKET)
    bench.clock.run_to(20)
    assert len(bench.arrived) == 1


def test_a_trace_is_followed_in_a_loop() -> None:
    bench = Bench(queue=1e6)
    rows = (TraceRow(1.0, 2000.0, None), TraceRow(2.0, 0.0, None), TraceRow(1.0, 1000.0, 0.25))
    Follower(bench.clock, bench.channel, rows, start=4.0, delay=0.0)
    for _ in range(6):
        bench.channel.send(bytes(900))
    bench.clock.run_to(12)
    assert bench.times == [0.45, 0.9, 3.95, 4.3, 4.75, 7.65]

"""Carries IP packets between the nodes of a lab, each over the link that the lab file says."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from fogline.lab.errors import LabError
from fogline.lab.labfile import DEFAULT, Event, LabFile
from fogline.lab.links.channel import Channel
from fogline.lab.links.follower import Follower
from fogline.lab.links.settings import Both, LinkTable, change
from fogline.lab.links.traces import read_trace
from fogline.lab.loop import EventLoop

BATCH = 64
"""Packets read from a node before the others have their turn."""
DESTINATION = slice(16, 20)
IPV4 = 4
SIDES = ("up", "down")


class Emulator:
    """Routes between the nodes' TUN devices.

    Args:
        lab: nodes, links, events.
        loop: to run in.
        tuns: each node's TUN descriptor.
        addresses: each node's IPv4 address.

    Raises:
        LabError: a trace cannot be read.
    """

    def __init__(self, lab: LabFile, loop: EventLoop, tuns: Mapping[str, int], addresses: Mapping[str, str]) -> None:
        self._lab, self._loop = lab, loop
        self._routes: dict[str, dict[bytes, Channel]] = {node: {} for node in lab.nodes}
        self._channels: dict[str, dict[str, Channel]] = {}
        self._links: dict[str, Both] = {}
        self._followers: dict[tuple[str, str], Follower] = {}
        packed = {node: IPv4Address(address).packed for node, address in addresses.items()}
        for name, (child, parent) in lab.pairs().items():
            up = self._routes[child][packed[parent]] = self._channel(f"{name} up", tuns[parent])
            down = self._routes[parent][packed[child]] = self._channel(f"{name} down", tuns[child])
            self._channels[name] = {"up": up, "down": down}
            self._links[name] = Both()
        for node, tun in tuns.items():
            loop.watch(tun, self._reader(tun, self._routes[node]))
        self._start()

    def set(self, pattern: str, table: LinkTable) -> list[str]:
        """Change links at run time.

        Returns:
            The names of the links that changed.

        Raises:
            LabError: there is no such link, or its trace cannot be read; then nothing changed.
        """
        try:
            names = self._lab.select(pattern)
        except ValueError as wrong:
            raise LabError(f"{wrong}.") from None
        changed = {name: change(self._links[name], table, self._lab.folder) for name in names}
        for name, link in changed.items():
            self._read_traces(name, link)
        for name, link in changed.items():
            self._apply(name, link)
        return names

    def links(self) -> dict[str, Any]:
        """How every link is now, by its name: ``{"up": …, "down": …}``."""
        return {name: link.model_dump(mode="json") for name, link in self._links.items()}

    def counters(self) -> dict[str, dict[str, dict[str, int]]]:
        """What passed, by link and direction."""
        return {
            name: {side: channel.figures() for side, channel in sides.items()} for name, sides in self._channels.items()
        }

    def _channel(self, name: str, tun: int) -> Channel:
        # A source of its own: what one link draws does not depend on the traffic of the others.
        return Channel(self._loop, _writer(tun), random.Random(f"{self._lab.seed} {name}"), self._lab.mtu)

    def _start(self) -> None:
        if DEFAULT in self._lab.links:
            for name in self._links:
                self._links[name] = change(self._links[name], self._lab.links[DEFAULT], self._lab.folder)
        for pattern, table in self._lab.links.items():
            for name in self._lab.select(pattern) if pattern != DEFAULT else ():
                self._links[name] = change(self._links[name], table, self._lab.folder)
        for name, link in self._links.items():
            self._apply(name, link)
        for event in self._lab.event:
            self._read_event(event)
            self._loop.at(self._loop.now + event.at, self._happen, event)

    def _read_event(self, event: Event) -> None:
        """So that a trace that is missing is said at the start."""
        for name in self._lab.select(event.node):
            self._read_traces(name, change(self._links[name], event.set, self._lab.folder))

    def _happen(self, event: Event) -> None:
        try:
            self.set(event.node, event.set)
        except LabError as wrong:  # Its trace was there at the start.
            sys.stderr.write(f"The event at {event.at:g} s did not happen: {wrong}\n")

    def _apply(self, name: str, link: Both) -> None:
        before, self._links[name] = self._links[name], link
        for side in SIDES:
            one = getattr(link, side)
            follower = self._followers.get((name, side))
            old = getattr(before, side)
            if follower is not None and (old.trace, old.start) == (one.trace, one.start):
                follower.keep(one)  # A change of the loss, say, does not begin the trace again.
                continue
            if follower is not None:
                follower.stop()
                del self._followers[name, side]
            self._channels[name][side].apply(one)
        self._follow(name, link)

    def _follow(self, name: str, link: Both) -> None:
        share = random.Random(f"{self._lab.seed} {name} trace").random()
        for side, rows in self._read_traces(name, link).items():
            one = getattr(link, side)
            start = one.start if one.start is not None else share * sum(row.seconds for row in rows)
            if (name, side) not in self._followers:
                channel = self._channels[name][side]
                self._followers[name, side] = Follower(self._loop, channel, rows, start, one.delay)

    def _read_traces(self, name: str, link: Both) -> dict[str, Any]:
        """The rows for each direction that follows a trace; both directions draw the same one."""
        rows: dict[str, Any] = {}
        for side in SIDES:
            path = getattr(link, side).trace
            if path is not None:
                rows[side] = getattr(read_trace(path, random.Random(f"{self._lab.seed} {name} file")), side)
        return rows

    def _reader(self, tun: int, routes: dict[bytes, Channel]) -> Callable[[], None]:
        """Reads what a node sent, up to a batch. IPv6 and what has no link is dropped."""
        size, read, route = self._lab.mtu, os.read, routes.get

        def reader() -> None:
            try:
                for _ in range(BATCH):
                    packet = read(tun, size)
                    channel = route(packet[DESTINATION])
                    if channel is not None and packet[0] >> 4 == IPV4:
                        channel.send(packet)
            except BlockingIOError:
                return

        return reader


def _writer(tun: int) -> Callable[[bytes], None]:
    return partial(_write, tun)


def _write(tun: int, packet: bytes) -> None:
    try:
        os.write(tun, packet)
    except OSError:
        # The node's kernel has no memory for it, or its device is down: a packet that a real node would lose too.
        return

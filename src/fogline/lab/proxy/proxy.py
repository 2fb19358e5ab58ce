"""A TCP proxy with faults, for unit tests without root: slow, cut, silent, corrupt or short streams."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Literal, Self

from fogline.jobs.units import seconds
from fogline.lab.errors import LabError
from fogline.lab.proxy.faults import Way
from fogline.lab.proxy.relay import Relay, TruncatedError
from fogline.simulation.profiles.rates import rate as bandwidth

Direction = Literal["up", "down"]
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 s: closing resets the connection."""


class FaultProxy:
    """Forwards a loopback port to a server, and does to the streams what a test asks.

    ``up`` is from the client to the server. Set before or during connections; all from the one event loop::

        async with FaultProxy("127.0.0.1", server_port) as proxy:
            proxy.set(delay="20ms", rate="64kbit")
            connect("127.0.0.1", proxy.port)
            proxy.partition(True)
            proxy.cut()
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._ways: dict[Direction, Way] = {"up": Way(), "down": Way()}
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._connections: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self.accepted = 0
        """Connections so far."""

    @property
    def port(self) -> int:
        """The loopback port to connect to; 0 before the start."""
        return self._port

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    @property
    def bytes_up(self) -> int:
        """Bytes passed on to the server."""
        return self._ways["up"].passed

    @property
    def bytes_down(self) -> int:
        """Bytes passed on to the clients."""
        return self._ways["down"].passed

    def set(
        self,
        *,
        delay: float | str | None = None,
        rate: float | str | None = None,
        direction: Direction | None = None,
    ) -> None:
        """Change a direction, or both. What is already waiting keeps its delay.

        Args:
            delay: seconds each way, or ``"20ms"``; None leaves it.
            rate: bytes per second over all connections, or ``"64kbit"``, or ``"none"`` for unlimited; None leaves it.
            direction: ``"up"`` or ``"down"``; None is both.

        Raises:
            LabError: a value is out of range or has no known unit.
        """
        try:
            wait = None if delay is None else _number(seconds(delay), least=0.0)
            pace = None if rate in (None, "none") else _number(bandwidth(rate), least=1.0)
        except ValueError as wrong:
            raise LabError(f"{wrong}.") from None
        for way in self._chosen(direction):
            way.delay = way.delay if wait is None else wait
            way.rate = way.rate if rate is None else pace

    def partition(self, on: bool = True) -> None:
        """Stop forwarding both ways without a word to either end, or go on with what waited."""
        if on:
            self._open.clear()
        else:
            self._open.set()

    def cut(self) -> None:
        """Reset all connections, as a crash of the other end does."""
        for task, writers in self._connections.items():
            for writer in writers:
                _reset(writer)
            task.cancel()

    async def refuse(self, on: bool = True) -> None:
        """Refuse new connections, or take them again at the same port; open ones go on."""
        if on and self._server is not None:
            self._server.close()
            self._server = None
        elif not on and self._server is None:
            await self._listen()

    def corrupt_after(self, size: int, *, flips: int = 1, direction: Direction = "up") -> None:
        """Flip one bit in each of the next ``flips`` bytes after ``size`` more bytes; once."""
        way = self._ways[direction]
        way.corrupt_at, way.flips = way.passed + size, flips

    def truncate_after(self, size: int, *, direction: Direction = "up") -> None:
        """Pass on ``size`` more bytes, then close that connection in order, both ways; once."""
        way = self._ways[direction]
        way.truncate_at = way.passed + size

    async def start(self) -> Self:
        """Listen on a free loopback port."""
        await self._listen()
        return self

    async def close(self) -> None:
        """Stop listening and end all connections."""
        await self.refuse()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, reuse_address=True)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._connections[task] = (writer,)
        try:
            await self._forward(task, reader, writer)
        except asyncio.CancelledError:
            pass  # By cut: the streams are reset already.
        finally:
            for end in self._connections.pop(task):
                end.close()

    async def _forward(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)  # The server is down: what the client would see without the proxy, nearly.
            return
        self._connections[task] = (writer, far_writer)
        up = Relay(self._ways["up"], self._open, reader, far_writer)
        down = Relay(self._ways["down"], self._open, far_reader, writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(up.run())
                both.create_task(down.run())
        except* TruncatedError:
            pass  # Closed in order by the caller.
        except* ConnectionError:
            _reset(writer)  # One end was reset, so the other is.
            _reset(far_writer)

    def _chosen(self, direction: Direction | None) -> list[Way]:
        return list(self._ways.values()) if direction is None else [self._ways[direction]]


def _number(value: object, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        raise ValueError(f"{value!r} is no number of at least {least:g}")
    return float(value)


def _reset(writer: asyncio.StreamWriter) -> None:
    stream: socket.socket | None = writer.get_extra_info("socket")
    if stream is not None and stream.fileno() >= 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()

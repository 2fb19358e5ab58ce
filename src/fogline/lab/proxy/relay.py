"""One direction of one connection through a proxy."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from fogline.lab.proxy.faults import Way

PIECE = 65536
WAITING = 64
"""Pieces that may be under way at once; then the sender has to wait, as with a full socket buffer."""


class TruncatedError(Exception):
    """The stream was cut short, as a test asked."""


@dataclass(slots=True)
class Relay:
    """Passes bytes from a reader to a writer, with the faults of its direction.

    Args:
        way: the faults.
        open: cleared during a partition.
    """

    way: Way
    open: asyncio.Event
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _due: asyncio.Queue[tuple[float, bytes]] = field(default_factory=lambda: asyncio.Queue(WAITING))

    async def run(self) -> None:
        """Until the end of the stream, which is passed on.

        Raises:
            ExceptionGroup: of ConnectionError, where an end was reset, or of TruncatedError.
        """
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read())
            both.create_task(self._write())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        piece = b"more"
        while piece:
            await self.open.wait()
            piece = await self.reader.read(PIECE)
            await self._due.put((loop.time() + self.way.delay, piece))

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, waiting = await self._due.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not waiting:
                break
            while waiting:
                waiting = waiting[await self._pass_on(waiting) :]
        await self.open.wait()
        if self.writer.can_write_eof():
            with suppress(OSError):  # Who is gone needs no end.
                self.writer.write_eof()

    async def _pass_on(self, waiting: bytes) -> int:
        """Write what may go at once.

        Returns:
            How many bytes that were.
        """
        await self.open.wait()
        piece = self.way.take(waiting)
        ends = self.way.truncated()
        await self.way.wait_for(len(piece))
        await self.open.wait()
        self.writer.write(piece)
        await self.writer.drain()
        if ends:
            raise TruncatedError
        return len(piece)

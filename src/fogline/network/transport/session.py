"""A child's connection, as its parent sees it."""

from __future__ import annotations

import asyncio

from fogline.governance.identity.credentials import CertificateFacts
from fogline.network.timing import LAST_FRAME
from fogline.network.transport.messages import DownFrame, Present

QUEUE = 1000
"""Frames that may wait for a child; one that does not read them is cut off."""


class Session:
    """The connection of one child, from its first frame to its end."""

    def __init__(self, facts: CertificateFacts, present: Present, address: str = "") -> None:
        self.facts = facts
        self.subject = facts.subject
        self.name = facts.subject.name
        self.serial = facts.serial
        self.present = present
        self.address = address
        """Where it dials from."""
        self.gone = asyncio.Event()
        self.writing = asyncio.Lock()
        """Held while a frame is on its way out."""
        self.why = "it went away"
        self.frames: asyncio.Queue[DownFrame] = asyncio.Queue(QUEUE)

    def send(self, frame: DownFrame) -> None:
        """Queue a frame for the child."""
        try:
            self.frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.end("it does not read what it is sent")

    async def silence(self, writer: asyncio.Task[None]) -> bool:
        """End the writer; whether nothing is on its way out any more.

        In the middle of a frame gRPC cannot say why it ends a call, and who does not read would keep it there.
        """
        silent = True
        try:
            async with asyncio.timeout(LAST_FRAME):
                await self.writing.acquire()
        except TimeoutError:
            silent = False
        writer.cancel()
        return silent

    def end(self, why: str) -> None:
        """Cut the connection."""
        self.why = why
        self.gone.set()

"""A fog that lies to its children on the wire, and may become honest again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from fogline.network.node.services.releases import ReleaseService
from fogline.network.transport.chunks import PLAIN
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.messages import CHUNK, Fetch, MetadataFile, ReadMetadata, Size
from fogline.processes.messages import decoder, encode

Change = Callable[[bytes], bytes]
Documents = Callable[[str, bytes | None], bytes | None]
FETCH, FILE = decoder(Fetch), decoder(MetadataFile)


class EvilFog:
    """Sits between a fog and what it sends. As long as nothing is set, the fog is honest.

    Args:
        monkeypatch: of the test; the evil must be there before the fog starts.
        name: of the fog.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str = "fog") -> None:
        self.name = name
        self.asked: list[str] = []
        """Digests of files that children asked for."""
        self.reads = 0
        """How many small files they asked for."""
        self.honest()
        fetch, read, evil = Downlink.fetch, ReleaseService.read, self

        async def fetched(self: Downlink, request: bytes, context: Any) -> AsyncIterator[bytes]:
            frames = fetch(self, request, context)
            async for frame in evil._files(self, request, frames):
                yield frame

        async def given(self: ReleaseService, asked: ReadMetadata) -> bytes:
            return await evil._document(self.node.name, asked, read(self, asked))

        monkeypatch.setattr(Downlink, "fetch", fetched)
        monkeypatch.setattr(ReleaseService, "read", given)

    def honest(self) -> None:
        """No evil any more."""
        self.blobs: dict[str, Change] = {}
        """What becomes of files, by digest."""
        self.frames: Callable[[int], AsyncIterator[bytes]] | None = None
        """What is sent instead of any file, by its size."""
        self.documents: Documents | None = None
        """What becomes of small files."""
        self.answer: bytes | None = None
        """What is sent instead of any small file, as it is on the wire."""

    async def _files(self, link: Any, request: bytes, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        asked = FETCH.decode(request)
        if link._below.name != self.name:
            async for frame in frames:
                yield frame
            return
        self.asked.append(asked.digest)
        if self.frames is None and asked.digest not in self.blobs:
            async for frame in frames:
                yield frame
            return
        path, size = await link._below.obtain(asked.digest)
        if self.frames is not None:
            async for frame in self.frames(size):
                yield frame
            return
        data = self.blobs[asked.digest](path.read_bytes())
        yield encode(Size(size))
        for start in range(asked.offset, len(data), CHUNK):
            yield PLAIN + data[start : start + CHUNK]

    async def _document(self, node: str, asked: ReadMetadata, honest: Awaitable[bytes]) -> bytes:
        answer = await honest
        if node != self.name:
            return answer
        self.reads += 1
        if self.answer is not None:
            return self.answer
        if self.documents is None:
            return answer
        return encode(MetadataFile(self.documents(asked.name, FILE.decode(answer).data)))


def flipped(data: bytes) -> bytes:
    """One bit is another."""
    return data[:-1] + bytes([data[-1] ^ 1])


def halved(data: bytes) -> bytes:
    """The second half is missing."""
    return data[: len(data) // 2]


async def nothing(_: int) -> AsyncIterator[bytes]:
    """The stream ends at once, as if all was well."""
    for _ in ():
        yield b""


async def noise(_: int) -> AsyncIterator[bytes]:
    """It is no message."""
    yield b"\xff" * 100


async def endless(size: int) -> AsyncIterator[bytes]:
    """It never ends."""
    yield encode(Size(size))
    while True:
        yield PLAIN + bytes(CHUNK)


async def swollen(size: int) -> AsyncIterator[bytes]:
    """Another size than the one that is signed."""
    yield encode(Size(2 * size))
    yield PLAIN + bytes(2 * size)


async def silence(size: int) -> AsyncIterator[bytes]:
    """It begins, and says no more."""
    yield encode(Size(size))
    await asyncio.Event().wait()


async def mute(_: int) -> AsyncIterator[bytes]:
    """It does not even begin."""
    await asyncio.Event().wait()
    yield b""

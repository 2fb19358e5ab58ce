"""Blobs in pieces: each at most :data:`CHUNK` bytes, with one byte before it that says whether it is compressed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

import zstandard

from fogline.network.timing import PATIENCE
from fogline.network.transport.messages import ALIVE, CHUNK, PIECE
from fogline.storage import BlobWriter

PLAIN, ZSTD = b"\x00", b"\x01"
WORTH = 0.9
"""A blob is compressed if its first chunk shrinks to less than that."""
LEVEL = 1


class ChunkError(ValueError):
    """A piece that cannot be a piece of the blob."""


async def pieces(path: Path, offset: int, zstd: bool) -> AsyncIterator[bytes]:
    """A blob's bytes from an offset on, as chunks.

    Floating-point numbers hardly shrink; whether compression pays is seen on the first chunk.
    """
    compressor = zstandard.ZstdCompressor(level=LEVEL) if zstd else None
    with path.open("rb") as file:
        file.seek(offset)
        while data := file.read(PIECE):
            if compressor is not None:
                packed = await asyncio.to_thread(compressor.compress, data)
                if len(packed) < WORTH * len(data):
                    yield ZSTD + packed
                    continue
                compressor = None
            yield PLAIN + data


async def patient(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks, as long as each comes in time: who sends nothing holds no place.

    Raises:
        TimeoutError: one does not.
    """
    while True:
        async with asyncio.timeout(3 * PATIENCE):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk


async def first_answer(answers: AsyncIterator[bytes]) -> bytes:
    """The first that is more than a sign of life; empty where there is none."""
    async for answer in answers:
        if answer != ALIVE:
            return answer
    return b""


async def receive(chunks: AsyncIterable[bytes], writer: BlobWriter, size: int) -> None:
    """Write chunks as they come.

    Raises:
        ChunkError: they are more than was announced, or not what they say.
        StorageError: they cannot be written.
    """
    room = size - writer.offset
    async for chunk in chunks:
        data = unpacked(chunk)
        room -= len(data)
        if room < 0:
            raise ChunkError(f"More came than the {size} bytes that were announced.")
        # Not in a thread: asking one costs more than hashing and writing so little.
        writer.write(data)
        if room == 0:
            return
    raise ChunkError(f"The sender stopped {room} bytes before the end.")


def unpacked(chunk: bytes) -> memoryview | bytes:
    """The bytes in a chunk.

    Raises:
        ChunkError: it is empty, of an unknown kind, too large, or does not unpack.
    """
    kind, data = chunk[:1], memoryview(chunk)[1:]
    if kind == ZSTD:
        try:
            # The output is bounded by the limit, whatever the frame says of itself.
            with zstandard.ZstdDecompressor(max_window_size=8 * CHUNK).stream_reader(data) as reader:
                data = reader.read(CHUNK + 1)
        except zstandard.ZstdError as error:
            raise ChunkError(f"A compressed chunk does not unpack: {error}.") from error
    elif kind != PLAIN:
        raise ChunkError(f"A chunk of unknown kind {kind!r}.")
    if not 0 < len(data) <= CHUNK:
        raise ChunkError(f"A chunk of {len(data)} bytes; it must have 1 to {CHUNK}.")
    return data

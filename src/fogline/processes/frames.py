"""Frames between a node and its helper processes, over a socket pair: bytes with their length before them."""

from __future__ import annotations

from asyncio import StreamReader
from typing import BinaryIO

import msgspec

LENGTH = 4
"""Bytes of a frame's length, big-endian."""


def framed(body: bytes) -> bytes:
    """A frame."""
    return len(body).to_bytes(LENGTH, "big") + body


async def next_frame(reader: StreamReader, largest: int) -> bytes:
    """The body of the next frame.

    Args:
        reader: from the other end.
        largest: bytes that a body may have.

    Raises:
        asyncio.IncompleteReadError: the other end is gone.
        msgspec.DecodeError: it is larger.
    """
    length = int.from_bytes(await reader.readexactly(LENGTH), "big")
    if length > largest:
        raise msgspec.DecodeError(f"a frame of {length} bytes")
    return await reader.readexactly(length)


def read_frame(stream: BinaryIO) -> bytes | None:
    """The body of the next frame; None where the other end is gone."""
    header = stream.read(LENGTH)
    length = int.from_bytes(header, "big")
    body = stream.read(length)
    return body if len(header) == LENGTH and len(body) == length else None

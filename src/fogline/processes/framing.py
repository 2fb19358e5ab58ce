"""Frames between a process and its helper, over a socket pair: a kind, a number and bytes, with their length before
them."""

from __future__ import annotations

from asyncio import StreamReader
from enum import IntEnum
from struct import Struct
from typing import BinaryIO, NamedTuple

import msgspec

HEADER = Struct(">BQI")
"""Kind, number and length, big-endian."""


class FrameKind(IntEnum):
    """What a frame is."""

    REQUEST = 0
    ANSWER = 1
    FAILURE = 2
    """The answer of who could not do it: a sentence in UTF-8."""


class Frame(NamedTuple):
    """What is sent at once."""

    kind: FrameKind
    number: int
    """Of a request, and of its answer; 0: it wants none."""
    body: bytes


def framed(frame: Frame) -> bytes:
    """A frame as it is on the wire."""
    return HEADER.pack(frame.kind, frame.number, len(frame.body)) + frame.body


async def next_frame(reader: StreamReader, largest: int) -> Frame:
    """The next frame.

    Args:
        reader: from the other end.
        largest: bytes that a body may have.

    Raises:
        asyncio.IncompleteReadError: the other end is gone.
        msgspec.DecodeError: it is larger, or no frame.
    """
    kind, number, length = _header(await reader.readexactly(HEADER.size))
    if length > largest:
        raise msgspec.DecodeError(f"a frame of {length} bytes")
    return Frame(kind, number, await reader.readexactly(length))


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next frame; None where the other end is gone.

    Raises:
        msgspec.DecodeError: it is none.
    """
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, number, length = _header(header)
    body = stream.read(length)
    return Frame(kind, number, body) if len(body) == length else None


def _header(data: bytes) -> tuple[FrameKind, int, int]:
    kind, number, length = HEADER.unpack(data)
    try:
        return FrameKind(kind), number, length
    except ValueError:
        raise msgspec.DecodeError(f"a frame of kind {kind}") from None

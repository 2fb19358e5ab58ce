"""What a delta looks like on the way: a small header and one zstd frame for each of the codec's streams.

=========================== =================================================
2 bytes, little-endian      length of the header
header, msgpack             :class:`Header`
frames                      one after the other, as long as the header says
=========================== =================================================

It is read as if it came from an enemy: nothing is unpacked that is larger than the reader asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard
from msgspec import Meta

from fogline.decoding import UNREADABLE

Bytes = npt.NDArray[np.uint8]
"""A flat array of bytes."""

LENGTH = 2
"""Bytes of the header's length."""
SMALL = 1 << 20
"""Bytes of a stream up to which the best compression takes well under a second."""
BEST, FAST = 19, 3
"""zstd levels; the fast one gives 2 to 4 % more bytes on weights."""


class DeltaError(ValueError):
    """A delta that cannot be made or applied; the text is a sentence."""


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What a delta says of itself."""

    format: Literal[1]
    codec: str
    layout: Annotated[bytes, Meta(min_length=32, max_length=32)]
    """Digest of the models' layout (:attr:`fogline.params.Spec.digest`)."""
    frames: tuple[Annotated[int, Meta(ge=0, le=2**53)], ...]
    """Bytes of each frame; 0 for a stream of nothing, which has none."""


_HEADER = msgspec.msgpack.Decoder(Header)


def pack(codec: str, layout: str, streams: Sequence[npt.NDArray[Any]]) -> bytes:
    """A delta of that codec, between models of that layout (digest, in hex)."""
    frames = [_compress(np.ascontiguousarray(stream)) for stream in streams]
    header = msgspec.msgpack.encode(Header(1, codec, bytes.fromhex(layout), tuple(len(frame) for frame in frames)))
    return b"".join([len(header).to_bytes(LENGTH, "little"), header, *frames])


class Streams:
    """The streams of a delta, in the order in which they were packed.

    Raises:
        DeltaError: the payload is none, is cut off, or is of another codec or layout.
    """

    def __init__(self, payload: bytes, codec: str, layout: str) -> None:
        start = LENGTH + int.from_bytes(payload[:LENGTH], "little")
        try:
            header = _HEADER.decode(payload[LENGTH:start])
        except UNREADABLE:
            raise DeltaError("The delta cannot be read: its header is damaged or of another version.") from None
        if header.codec != codec:
            raise DeltaError(f"The delta is of codec '{header.codec[:40]}', not '{codec}' as it should be.")
        if header.layout.hex() != layout:
            raise DeltaError("The delta belongs to a model of another layout than the one it should be applied to.")
        if start + sum(header.frames) != len(payload):
            raise DeltaError(f"The delta is cut off or too long: its {len(payload)} bytes are not what it says.")
        self._payload = memoryview(payload)
        self._frames = iter(header.frames)
        self._place = start

    def next(self, most: int, least: int | None = None) -> Bytes:
        """The next stream, of ``least`` (None: exactly ``most``) to ``most`` bytes.

        Raises:
            DeltaError: there is none, or it is damaged or of another size.
        """
        size = next(self._frames, None)
        if size is None:
            raise DeltaError("The delta lacks a part of the model.")
        frame = self._payload[self._place : self._place + size]
        self._place += size
        data = _decompress(frame, most) if size else b""
        if not (most if least is None else least) <= len(data) <= most:
            raise DeltaError(f"A part of the delta has {len(data)} bytes, which do not fit the model.")
        return np.frombuffer(data, np.uint8)

    def end(self) -> None:
        """There must be no more.

        Raises:
            DeltaError: there is.
        """
        if next(self._frames, None) is not None:
            raise DeltaError("The delta holds more than the model.")


def _compress(stream: npt.NDArray[Any]) -> bytes:
    if not stream.nbytes:
        return b""
    level = BEST if stream.nbytes <= SMALL else FAST
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(stream.data)


def _decompress(frame: memoryview, most: int) -> bytes:
    try:
        # The library allocates what the frame says, whatever limit it is given.
        if zstandard.get_frame_parameters(frame).content_size > most:
            raise DeltaError(f"A part of the delta unpacks to more than the {most} bytes that fit the model.")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=most, allow_extra_data=False)
    except zstandard.ZstdError:
        raise DeltaError("A part of the delta is damaged.") from None

"""Arrays as pictures in a page: no library, no file beside it."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.audit.knowledge import is_picture

Array = npt.NDArray[Any]
WIDTH, HEIGHT = 96, 48
"""Of a curve, in the page's units."""
MOST_POINTS = 256


def drawn(example: Array, low: float, high: float, alt: str) -> str:
    """An input as HTML: a picture (channels, height, width), or anything else as the curve of its numbers.

    Args:
        example: the input.
        low: is black, or at the bottom; what is lower is taken for it.
        high: is white, or at the top.
        alt: what it is, in words without marks.
    """
    scaled = np.clip((np.asarray(example, np.float64) - low) / max(high - low, 1e-12), 0, 1)
    if is_picture(example):
        data = base64.b64encode(png(np.rint(255 * scaled).astype(np.uint8))).decode()
        return f'<img alt="{alt}" src="data:image/png;base64,{data}">'
    flat = scaled.ravel()
    flat = flat[np.linspace(0, flat.size - 1, min(flat.size, MOST_POINTS)).astype(np.int64)]
    places = np.linspace(1, WIDTH - 1, flat.size)
    points = " ".join(f"{x:.1f},{1 + (HEIGHT - 2) * (1 - y):.1f}" for x, y in zip(places, flat, strict=True))
    return f'<svg role="img" aria-label="{alt}" viewBox="0 0 {WIDTH} {HEIGHT}"><polyline points="{points}"/></svg>'


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture (channels, height, width) of one or three channels as a PNG file."""
    channels, height, width = picture.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # Each row begins with its filter: none.
    rows[:, 1:] = picture.transpose(1, 2, 0).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

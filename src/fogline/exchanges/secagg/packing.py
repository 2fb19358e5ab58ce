"""Arrays of an exchange, taken from what somebody else has sent: nothing of it is believed before it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation import Arrays
from fogline.exchanges.base import ExchangeError, Received

Bytes = npt.NDArray[np.uint8]
MOST = 1 << 26
"""Bytes of a list of texts at most."""


def taken(received: Received, name: str, kind: Any, *shape: int) -> npt.NDArray[Any]:
    """The array of that name.

    Raises:
        ExchangeError: it is not there, or is of another type or shape.
    """
    array, wanted = received.get(name), np.dtype(kind)
    if array is None or array.dtype != wanted or array.shape != shape:
        said = "nothing" if array is None else f"{array.dtype}, {array.shape}"
        raise ExchangeError(f"'{name}' should be {wanted}, {shape}, and is {said}.")
    return array


def flags(received: Received, name: str, *shape: int) -> npt.NDArray[np.bool_]:
    """The array of that name, of zeros and others, as truth values.

    Raises:
        ExchangeError: as :func:`taken`.
    """
    return taken(received, name, np.uint8, *shape) != 0


def as_bytes(text: bytes) -> Bytes:
    """Bytes as an array."""
    return np.frombuffer(text, np.uint8)


def as_rows(texts: Sequence[bytes], *shape: int) -> Bytes:
    """Texts of one length as the rows of an array, (texts, *shape)."""
    return as_bytes(b"".join(texts)).reshape(len(texts), *shape)


def packed(name: str, texts: Sequence[bytes]) -> Arrays:
    """Texts as arrays: one after the other, and where each ends."""
    return {name: as_bytes(b"".join(texts)), f"{name}/ends": np.cumsum([len(text) for text in texts], dtype=np.int64)}


def unpacked(received: Received, name: str, count: int) -> list[bytes]:
    """What :func:`packed` packed.

    Raises:
        ExchangeError: it is no such list of so many.
    """
    ends = taken(received, f"{name}/ends", np.int64, count)
    whole = received.get(name)
    if whole is None or whole.dtype != np.uint8 or whole.ndim != 1 or whole.size > MOST:
        raise ExchangeError(f"'{name}' is no list of texts.")
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    if (ends < starts).any() or (count and (starts[0] < 0 or ends[-1] != whole.size)):
        raise ExchangeError(f"'{name}' is no list of {count} texts.")
    text = whole.tobytes()
    return [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

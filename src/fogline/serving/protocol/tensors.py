"""Tensors as they travel: binary, and as JSON.

Binary tensors are little-endian, row by row; an element of BYTES has its length (4 bytes) before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import msgspec
import numpy as np
from csimdjson import Parser

from fogline.decoding import UNREADABLE
from fogline.inference.runtimes.base import NUMPY, Array
from fogline.serving.protocol.errors import ProtocolError

Shape = Sequence[int]
Buffer = bytes | memoryview

WIRE = {datatype: dtype.newbyteorder("<") for datatype, dtype in NUMPY.items()}
LENGTH = 4
"""Bytes of the length of an element of BYTES."""

PART = 1 << 16
"""Bytes of a list that are parsed at once."""

_parse = Parser().parse
_OPENING = re.compile(rb"[\s\[]*")
_encode = msgspec.json.Encoder().encode


def read_binary(name: str, datatype: str, shape: Shape, data: Buffer) -> Array:
    """A tensor from its bytes.

    Raises:
        ProtocolError: there are more or fewer than the shape takes, or they are no tensor of that type.
    """
    if datatype == "BYTES":
        return _read_strings(name, shape, data)
    dtype = WIRE[datatype]
    if len(data) != prod(shape) * dtype.itemsize:
        raise _wrong_size(name, datatype, shape, prod(shape) * dtype.itemsize, len(data))
    array = np.frombuffer(data, dtype)
    if datatype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise ProtocolError(f"Input '{name}' has bytes that are neither 0 nor 1, so they are no BOOL.")
    if not array.flags.aligned:
        array = array.copy()
    return array.reshape(shape)


def write_binary(datatype: str, array: Array) -> bytes:
    """The bytes of a tensor."""
    if datatype == "BYTES":
        return b"".join(len(item).to_bytes(LENGTH, "little") + item for item in array.ravel())
    return array.astype(WIRE[datatype], copy=False).tobytes()


def read_json(name: str, datatype: str, shape: Shape, data: Buffer) -> Array:
    """A tensor from its JSON: a list of all elements, or lists within lists as the shape says.

    Raises:
        ProtocolError: it does not fit the type or the shape.
    """
    opening = _OPENING.match(data)
    depth = opening.group().count(b"[") if opening else 0
    if depth != 1 and depth != len(shape):
        raise ProtocolError(f"The data of input '{name}' must be one flat list, or nested {len(shape)} deep.")
    try:
        array = _flat_floats(NUMPY[datatype], prod(shape), data) if depth == 1 else None
        if array is None:
            array = _array(name, datatype, _decoder(datatype, depth).decode(data))
    except UNREADABLE as error:
        raise ProtocolError(f"The data of input '{name}' is no {datatype}: {error}.") from None
    if array.size != prod(shape) or (depth > 1 and array.shape != tuple(shape)):
        raise ProtocolError(f"Input '{name}' has data of shape {list(array.shape)}, not {list(shape)}.")
    if datatype == "BYTES":
        return _objects([text.encode() for text in array.ravel()], shape)
    return array.reshape(shape)


def _flat_floats(dtype: np.dtype[Any], count: int, data: Buffer) -> Array | None:
    """The numbers of a flat list, without an object for each of them; None where it is none of so many floats that fit.

    Such a list is then read in the ordinary way, which says what is wrong. Both give the same bits.
    """
    text = bytes(data).strip()
    if dtype.kind != "f" or text.find(b"[", 1) >= 0 or text[-1:] != b"]" or 2 * count > len(text):
        return None
    found, at = np.empty(count, dtype), 0
    start, end = 1, len(text) - 1
    with np.errstate(over="raise"):
        while start < end:
            # Parts of a size that the cache holds. Each must give a number: what stands between commas is one.
            stop = end if end - start <= PART else text.rfind(b",", start, start + PART)
            try:
                numbers = np.frombuffer(_parse(b"[%b]" % text[start : max(start, stop)]).as_buffer(of_type="d"))
                found[at : at + numbers.size] = numbers
            except (ArithmeticError, AttributeError, RuntimeError, TypeError, ValueError):
                return None
            if not numbers.size:
                return None
            start, at = stop + 1, at + numbers.size
    return found if at == count else None


def read_values(name: str, datatype: str, shape: Shape, values: Sequence[Any]) -> Array:
    """A tensor from all its elements; those of BYTES are ``bytes``.

    Raises:
        ProtocolError: they do not fit the type or the shape.
    """
    if len(values) != prod(shape):
        raise ProtocolError(f"Input '{name}' of shape {list(shape)} has {len(values)} elements.")
    if datatype == "BYTES":
        return _objects(values, shape)
    return _array(name, datatype, values).reshape(shape)


def write_json(name: str, datatype: str, array: Array) -> bytes:
    """The elements of a tensor as a flat JSON list; null stands for NaN and infinity, which JSON does not have.

    Raises:
        ProtocolError: it has bytes that are no text.
    """
    values: list[Any] = array.ravel().tolist()
    if datatype == "BYTES":
        try:
            values = [item.decode() for item in values]
        except UnicodeDecodeError:
            raise ProtocolError(f"Output '{name}' has bytes that are no text; ask for it as binary data.") from None
    return _encode(values)


def _array(name: str, datatype: str, values: Sequence[Any]) -> Array:
    try:
        with np.errstate(over="raise"):
            return np.array(values, dtype=NUMPY[datatype])
    except (OverflowError, FloatingPointError):
        raise ProtocolError(f"The data of input '{name}' has a number that does not fit {datatype}.") from None
    except ValueError:
        raise ProtocolError(f"The lists within the data of input '{name}' differ in length.") from None


def _read_strings(name: str, shape: Shape, data: Buffer) -> Array:
    count, items, at = prod(shape), [], 0
    if LENGTH * count > len(data):
        raise _wrong_size(name, "BYTES", shape, LENGTH * count, len(data), "at least ")
    while at < len(data) and len(items) < count:
        start = at + LENGTH
        at = start + int.from_bytes(data[at:start], "little")
        items.append(bytes(data[start:at]))
    if at != len(data) or len(items) != count:
        raise ProtocolError(f"The bytes of input '{name}' are not {count} elements with their lengths before them.")
    return _objects(items, shape)


def _objects(items: Sequence[bytes], shape: Shape) -> Array:
    array = np.empty(len(items), dtype=np.object_)
    array[:] = list(items)
    return array.reshape(shape)


def _wrong_size(name: str, datatype: str, shape: Shape, right: int, size: int, least: str = "") -> ProtocolError:
    expected = f"{least}{right} bytes"
    return ProtocolError(f"Input '{name}' of {datatype} {list(shape)} takes {expected} of data, but has {size}.")


@lru_cache(maxsize=256)
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = {"b": bool, "O": str, "f": float}.get(NUMPY[datatype].kind, int)
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)

"""Which tensors an ONNX graph takes from elsewhere: read off its bytes, so that no node needs the ``onnx`` package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
}
"""ONNX's numbers of the types that arrays can have."""

# Numbers of fields and values in onnx.proto.
GRAPH, INITIALIZER = 7, 5
DIMS, TYPE, NAME, LOCATION = 1, 2, 8, 14
EXTERNAL = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tensor whose numbers are not in the graph."""

    dtype: np.dtype[Any] | None
    """None: a type that arrays cannot have."""
    shape: tuple[int, ...]


def wanted(model: bytes) -> dict[str, Wanted]:
    """The external initialisers of an ONNX model, by name.

    Raises:
        ValueError: the bytes are no model.
    """
    found: dict[str, Wanted] = {}
    for graph in _parts(memoryview(model), GRAPH):
        for tensor in _parts(graph, INITIALIZER):
            fields = list(_fields(tensor))
            if (LOCATION, EXTERNAL) in fields:
                name = b"".join(bytes(value) for number, value in fields if number == NAME and _is_bytes(value))
                kinds = [TYPES.get(value) for number, value in fields if number == TYPE and isinstance(value, int)]
                found[name.decode()] = Wanted(kinds[-1] if kinds else None, _shape(fields))
    return found


Value = int | memoryview


def _shape(fields: list[tuple[int, Value]]) -> tuple[int, ...]:
    shape: list[int] = []
    for number, value in fields:
        if number != DIMS:
            continue
        if isinstance(value, int):
            shape.append(value)
            continue
        place = 0
        while place < len(value):
            size, place = _varint(value, place)
            shape.append(size)
    return tuple(shape)


def _parts(data: memoryview, wanted: int) -> Iterator[memoryview]:
    return (value for number, value in _fields(data) if number == wanted and _is_bytes(value))


def _is_bytes(value: Value) -> TypeGuard[memoryview]:
    return not isinstance(value, int)


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Numbers and values of a protobuf message's fields; values of fixed width are passed over."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        match key & 7:
            case 0:
                value, place = _varint(data, place)
                yield key >> 3, value
            case 2:
                size, place = _varint(data, place)
                if size > len(data) - place:
                    raise ValueError("a field is longer than the message")
                yield key >> 3, data[place : place + size]
                place += size
            case 1:
                place += 8
            case 5:
                place += 4
            case kind:
                raise ValueError(f"a field has the unknown type {kind}")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, least first, and where the next field begins."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("a number has no end")

"""Which tensors an ONNX graph takes from elsewhere: read off its bytes, so that no node needs the ``onnx`` package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from fogline.inference.runtimes.base import Array, ModelError

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
DIMS, TYPE, NAME, ELSEWHERE, LOCATION = 1, 2, 8, 13, 14
KEY, VALUE = 1, 2
EXTERNAL = 1

BESIDE = ".data"
"""What PyTorch's exporter adds to the name of a graph for the file of its weights."""


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose numbers are not in the graph."""

    dtype: np.dtype[Any] | None
    """None: a type that arrays cannot have."""
    shape: tuple[int, ...]


def wanted(model: bytes) -> dict[str, ExternalTensor]:
    """The external initialisers of an ONNX model, by name.

    Raises:
        ValueError: the bytes are no model.
    """
    found: dict[str, ExternalTensor] = {}
    for graph in parts_of(memoryview(model), GRAPH):
        for tensor in parts_of(graph, INITIALIZER):
            fields = list(fields_of(tensor))
            if (LOCATION, EXTERNAL) in fields:
                kinds = [TYPES.get(value) for number, value in fields if number == TYPE and isinstance(value, int)]
                found[text_of(fields, NAME)] = ExternalTensor(kinds[-1] if kinds else None, _shape(fields))
    return found


def beside(path: Path) -> dict[str, Array]:
    """The tensors that an ONNX file keeps in the file beside it, by name, read from disk as they are looked at.

    Only a file that is called like the model, with ``.data`` behind it, is read, whatever the graph says: a graph that
    somebody else made must not choose which file of this machine becomes its weights.

    Raises:
        ModelError: there are such tensors, and they are in another file, or cannot be read.
    """
    file = path.with_name(path.name + BESIDE)
    try:
        model = path.read_bytes()
        needs = wanted(model)
    except ValueError:
        return {}  # What is wrong with it, is said by what loads it.
    return {name: _mapped(file, name, needs[name], place) for name, place in _places(model).items()}


def _places(model: bytes) -> dict[str, dict[str, str]]:
    """For each external initialiser the entries that say where it is."""
    found: dict[str, dict[str, str]] = {}
    for graph in parts_of(memoryview(model), GRAPH):
        for tensor in parts_of(graph, INITIALIZER):
            fields = list(fields_of(tensor))
            if (LOCATION, EXTERNAL) in fields:
                entries = [list(fields_of(value)) for value in parts_of(tensor, ELSEWHERE)]
                found[text_of(fields, NAME)] = {text_of(entry, KEY): text_of(entry, VALUE) for entry in entries}
    return found


def _mapped(file: Path, name: str, need: ExternalTensor, place: dict[str, str]) -> Array:
    if place.get("location") != file.name:
        raise ModelError(
            f"Tensor '{name}' is in another file, '{place.get('location', '')}'; only '{file.name}' is read. Put "
            f"everything in one file: onnx.save(onnx.load('{file.stem}'), 'whole.onnx')."
        )
    if need.dtype is None:
        raise ModelError(f"Tensor '{name}' in {file.name} is of a type that cannot be read here.")
    if 0 in need.shape:
        return np.empty(need.shape, need.dtype)
    try:
        return np.memmap(file, need.dtype, "r", int(place.get("offset", "0")), need.shape)
    except FileNotFoundError:
        raise ModelError(f"The weights of the model are in {file.name}, which is not beside it.") from None
    except (OSError, ValueError, OverflowError) as error:
        raise ModelError(f"Tensor '{name}' cannot be read from {file.name}: {error}.") from error


Value = int | memoryview


def text_of(fields: list[tuple[int, Value]], wanted: int) -> str:
    """The text of a field; empty where it is not there."""
    return b"".join(bytes(value) for number, value in fields if number == wanted and _is_bytes(value)).decode()


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


def parts_of(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """The messages, or texts, in all fields of a number."""
    return (value for number, value in fields_of(data) if number == wanted and _is_bytes(value))


def _is_bytes(value: Value) -> TypeGuard[memoryview]:
    return not isinstance(value, int)


def fields_of(data: memoryview) -> Iterator[tuple[int, Value]]:
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

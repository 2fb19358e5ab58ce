"""What tiers say to each other when one asks another to answer: msgpack, checked where it arrives."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from fogline.decoding import UNREADABLE
from fogline.inference.card import Datatype, ModelName
from fogline.inference.runtimes.base import NUMPY, Array
from fogline.registry.release import NodeKind

LARGEST = (2 << 20) - (64 << 10)
"""Bytes of the largest message; the link's limit is 2 MiB, and it adds some of its own."""
HOPS = 4
"""Tiers that an ask may climb."""
Send = Callable[[bytes, float], Coroutine[Any, Any, bytes]]
"""Carries an ask to the parent and its answer back, within so many seconds."""

_Count = Annotated[int, Meta(ge=0, le=LARGEST)]
_Axis = Annotated[int, Meta(ge=1, le=LARGEST)]
_DATATYPES: dict[np.dtype[np.generic], Datatype] = {}
for _name, _dtype in NUMPY.items():
    _DATATYPES[_dtype] = msgspec.convert(_name, Datatype)


class WireError(ValueError):
    """A message cannot be read or sent; the text is a sentence."""


class Values(msgspec.Struct, frozen=True, array_like=True):
    """A filled tensor. ``data`` is little-endian and row-major; BYTES have four bytes of length before each."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    datatype: Datatype
    shape: Annotated[tuple[_Axis, ...], Meta(min_length=1, max_length=8)]
    data: bytes


_Tensors = Annotated[tuple[Values, ...], Meta(min_length=1, max_length=64)]


class OffloadedRows(msgspec.Struct, frozen=True, array_like=True):
    """Please answer these rows with your model."""

    model: ModelName
    id: Annotated[str, Meta(max_length=64)]
    tensors: _Tensors
    left_ms: Annotated[int, Meta(ge=0, le=600_000)]
    """Milliseconds within which the answer is of use."""
    hops: Annotated[int, Meta(ge=1, le=HOPS)] = 1
    """Links that the ask has come over, this one included."""


class OffloadAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The answer to an ask: tensors with as many rows, or a sentence about why there is none."""

    tensors: Annotated[tuple[Values, ...], Meta(max_length=64)] = ()
    tier: NodeKind = "cloud"
    """The highest that answered a row."""
    model: Annotated[str, Meta(max_length=64)] = ""
    version: Annotated[int, Meta(ge=0, le=2**53)] = 0
    offloaded: _Count = 0
    """Rows that the answering tier sent further up."""
    error: Annotated[str, Meta(max_length=512)] = ""
    refused: bool = False
    """Whether that is because no model takes such inputs, which is no failure of the tier that says so."""


def packed(message: OffloadedRows | OffloadAnswer) -> bytes:
    """Its bytes.

    Raises:
        WireError: they are too many.
    """
    data = msgspec.msgpack.encode(message)
    if len(data) > LARGEST:
        raise WireError(f"A message of {len(data)} bytes is too large for the link, which takes {LARGEST}.")
    return data


def read_ask(data: bytes) -> tuple[OffloadedRows, dict[str, Array]]:
    """An ask and its arrays, read-only.

    Raises:
        WireError: it is none, or its tensors do not fit to their shapes or to each other.
    """
    ask = _read(data, _ASK, "ask")
    return ask, arrays(ask.tensors)


def read_answer(data: bytes) -> tuple[OffloadAnswer, dict[str, Array]]:
    """An answer and its arrays, read-only.

    Raises:
        WireError: it is none, or its tensors do not fit to their shapes or to each other.
    """
    answer = _read(data, _ANSWER, "answer")
    return answer, arrays(answer.tensors)


def values(tensors: Mapping[str, Array]) -> tuple[Values, ...]:
    """Arrays as they are sent.

    Raises:
        WireError: one is of a type that no model has.
    """
    return tuple(_value(name, array) for name, array in tensors.items())


def arrays(tensors: tuple[Values, ...]) -> dict[str, Array]:
    """The arrays that were sent; numbers are not copied.

    Raises:
        WireError: sizes and shapes do not fit, a name comes twice, or they differ in the number of rows.
    """
    found = {tensor.name: _array(tensor) for tensor in tensors}
    if len(found) != len(tensors) or len({len(array) for array in found.values()}) > 1:
        raise WireError("The tensors of a message must have names of their own and the same number of rows.")
    return found


_Message = TypeVar("_Message")
_ASK = msgspec.msgpack.Decoder(OffloadedRows)
_ANSWER = msgspec.msgpack.Decoder(OffloadAnswer)


def _read(data: bytes, decoder: msgspec.msgpack.Decoder[_Message], what: Literal["ask", "answer"]) -> _Message:
    if len(data) > LARGEST:
        raise WireError(f"An {what} of {len(data)} bytes is refused; the largest has {LARGEST}.")
    try:
        return decoder.decode(data)
    except UNREADABLE as error:
        raise WireError(f"The {what} cannot be read: {error}.") from None


def _value(name: str, array: Array) -> Values:
    if array.dtype.hasobject:
        items: list[bytes] = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
        data = b"".join(struct.pack("<I", len(item)) + item for item in items)
        return Values(name, "BYTES", array.shape, data)
    datatype = _DATATYPES.get(array.dtype.newbyteorder("="))
    if datatype is None:
        raise WireError(f"Tensor '{name}' is of type {array.dtype}, which no model has.")
    return Values(name, datatype, array.shape, array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def _array(tensor: Values) -> Array:
    count = math.prod(tensor.shape)
    if tensor.datatype == "BYTES":
        return _strings(tensor, count)
    dtype = NUMPY[tensor.datatype].newbyteorder("<")
    if len(tensor.data) != count * dtype.itemsize:
        raise WireError(f"Tensor '{tensor.name}' has {len(tensor.data)} bytes; its shape and type want "
                        f"{count * dtype.itemsize}.")  # fmt: skip
    flat = np.frombuffer(tensor.data, dtype)
    if tensor.datatype == "BOOL":
        flat = flat.view(np.uint8) != 0  # Any byte but 0 and 1 would be a strange truth.
    return flat.reshape(tensor.shape)


def _strings(tensor: Values, count: int) -> Array:
    items: list[bytes] = []
    place = 0
    while place < len(tensor.data) and len(items) <= count:
        start = place + 4
        place = start + int.from_bytes(tensor.data[place:start], "little")
        items.append(tensor.data[start:place])
    if place != len(tensor.data) or len(items) != count:
        raise WireError(f"Tensor '{tensor.name}' does not hold the {count} strings that its shape wants.")
    array = np.empty(count, np.object_)
    array[:] = items
    return array.reshape(tensor.shape)

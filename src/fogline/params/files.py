"""Models and named vectors as safetensors: on disk, on the wire, and addressed by sha256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from fogline.params.model import Counters, Params, Vector
from fogline.params.spec import Entry, Spec
from fogline.storage.atomic import replacing, write_file

LAYOUT = "fogline.layout"
CODES = {
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
}
"""What safetensors calls the types."""
KINDS = {code: np.dtype(kind) for kind, code in CODES.items() if kind != "bfloat16"}
"""The types that arrays can have, by safetensors' names."""


def to_bytes(params: Params) -> bytes:
    """A model as safetensors bytes, every tensor in its own type, its layout in the header."""
    encoded = _encoded(params)
    return bytes(safetensors.serialize(_tensors(params.spec, encoded), {LAYOUT: params.spec.layout}))


def from_bytes(data: bytes) -> Params:
    """Read what :func:`to_bytes` wrote.

    Raises:
        ValueError: the bytes are no safetensors file, or carry no layout of Fogline's, or another than theirs.
    """
    try:
        tensors = dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as error:
        raise ValueError(f"These bytes are no safetensors file: {error}.") from error
    params = Params.zeros(_layout(data))
    for entry in params.spec.entries:
        if entry.name not in tensors:
            raise ValueError(f"The layout names tensor '{entry.name}', which the file does not hold.")
        stored = tensors[entry.name]
        if stored["dtype"] != CODES[entry.dtype]:
            raise ValueError(f"Tensor '{entry.name}' is stored as {stored['dtype']}; its layout says {entry.dtype}.")
        values = _decode(entry, stored["data"])
        if values.size != entry.count:
            raise ValueError(f"Tensor '{entry.name}' holds {values.size} numbers; its shape says {entry.count}.")
        target = params.vector if entry.is_float else params.counters
        target[params.spec.slices[entry.name]] = values
    return params


def save(path: Path, params: Params, notes: Mapping[str, str] | None = None) -> None:
    """Write a model so that a reader sees the old file or the new one, never half of it; ``notes`` stand in its
    header."""
    encoded = _encoded(params)
    with replacing(path) as file:
        header = {**(notes or {}), LAYOUT: params.spec.layout}
        safetensors.serialize_file(_tensors(params.spec, encoded), file.name, header)


def load(path: Path) -> Params:
    """Read a model."""
    return from_bytes(path.read_bytes())


def as_stored(params: Params) -> Params:
    """The model as a reader of its file has it: every number rounded to its tensor's own type.

    Nothing is copied where no tensor is narrower than the vectors.
    """
    if all(entry.dtype in (params.spec.dtype.name, "int64") for entry in params.spec.entries):
        return params
    stored = Params.zeros(params.spec)
    for entry, values in zip(params.spec.entries, _encoded(params).values(), strict=True):
        target = stored.vector if entry.is_float else stored.counters
        target[params.spec.slices[entry.name]] = _decode(entry, values.tobytes())
    return stored


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], notes: Mapping[str, str] | None = None) -> None:
    """Write named arrays as safetensors, atomically."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # A single number has no axis.
    write_file(path, safetensors.numpy.save(contiguous, dict(notes) if notes else None))


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read named arrays."""
    return safetensors.numpy.load(path.read_bytes())


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays as safetensors, straight to disk; no copy of them is made, and nothing is flushed."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    safetensors.serialize_file({name: _tensor(array) for name, array in contiguous.items()}, path, None)


def map_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Named arrays that are read from disk as they are looked at.

    Raises:
        ValueError: the file is no safetensors file.
    """
    entries, memory = places(path), np.memmap(path, np.uint8, "r")
    return {
        name: np.frombuffer(memory[place.start : place.stop], place.dtype).reshape(place.shape)
        for name, place in entries.items()
    }


class ArrayPlace(NamedTuple):
    """An array in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    """First byte of it in the file."""
    stop: int


def places(path: Path) -> dict[str, ArrayPlace]:
    """Where the arrays of a file lie.

    Raises:
        ValueError: the file is no safetensors file, or holds a type that arrays cannot have.
    """
    try:
        with safetensors.safe_open(path, framework="np"):
            pass  # Checks that header and file fit each other.
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path.name} is no safetensors file: {error}.") from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    unknown = [entry["dtype"] for entry in header.values() if entry["dtype"] not in KINDS]
    if unknown:
        raise ValueError(f"There is a tensor of type {unknown[0]}, which arrays cannot have.")
    base = 8 + length
    return {
        name: ArrayPlace(KINDS[e["dtype"]], tuple(e["shape"]), *(base + offset for offset in e["data_offsets"]))
        for name, e in header.items()
    }


def digest(data: bytes) -> str:
    """sha256 in hex: the address of a blob."""
    return hashlib.sha256(data).hexdigest()


def _layout(data: bytes) -> Spec:
    # The header's length stands in its first eight bytes, little-endian.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    layout = header.get("__metadata__", {}).get(LAYOUT)
    if layout is None:
        raise ValueError("This safetensors file was not written by Fogline: it names no layout.")
    return Spec.read(layout)


Encoded = dict[str, npt.NDArray[Any]]


def _encoded(params: Params) -> Encoded:
    """Every tensor in its own type; a copy only where that is another than the vector's."""
    return {entry.name: _encode(entry, params.view(entry.name)) for entry in params.spec.entries}


def _tensors(spec: Spec, encoded: Encoded) -> dict[str, safetensors.TensorSpec]:
    return {e.name: _tensor(encoded[e.name], e.dtype, e.shape) for e in spec.entries}


def _tensor(
    array: npt.NDArray[Any], dtype: str | None = None, shape: tuple[int, ...] | None = None
) -> safetensors.TensorSpec:
    """An array as it lies in memory, which must stay there until it is written."""
    return safetensors.TensorSpec(
        dtype=dtype or array.dtype.name,
        shape=list(array.shape if shape is None else shape),
        data_ptr=array.ctypes.data,
        data_len=array.nbytes,
    )


def _encode(entry: Entry, values: Vector | Counters) -> npt.NDArray[Any]:
    if entry.dtype == "bfloat16":
        return _to_bfloat16(np.ascontiguousarray(values, np.float32))
    if entry.dtype == "float16":
        return _to_float16(values)
    return np.ascontiguousarray(values.astype(entry.dtype, copy=False))


def _decode(entry: Entry, raw: bytes) -> npt.NDArray[Any]:
    if entry.dtype == "bfloat16":
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, entry.dtype)


def _to_float16(values: Vector | Counters) -> npt.NDArray[np.float16]:
    """Round to nearest even, beyond the range to infinity; a NaN becomes the one that is the same on every machine."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = np.ascontiguousarray(values.astype(np.float16))
    half[np.isnan(half)] = np.nan
    return half


def _to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round to nearest even on the upper half; a NaN stays a NaN."""
    bits = values.view(np.uint32).ravel()
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values.ravel()), 0x7FC0, rounded).astype(np.uint16)

"""Samples that are kept on this machine, one safetensors file each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import safetensors

from fogline.decoding import UNREADABLE
from fogline.inference.runtimes.base import Array
from fogline.params import save_arrays

SUFFIX = ".safetensors"
_NOTES = "fogline.sample"


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a kept sample."""

    model: str
    version: int
    request: str = ""
    row: int = 0
    """In its request."""
    why: Literal["hard", "drift"] = "hard"
    guess: int = 0
    """Class that the model named; samples are kept of every class."""
    confidence: float = 0.0
    key: float = 0.0
    """Its place in the order by which samples are given up, the lowest first."""
    at: float = 0.0
    """Unix time."""
    label: int | float | None = None


_DECODER = msgspec.json.Decoder(Notes)


class DamagedSampleError(ValueError):
    """A file holds no sample; the text is a sentence."""


def name_of(inputs: Mapping[str, Array]) -> str:
    """By the content, so that a sample that comes again is known."""
    content = hashlib.sha256()
    for name in sorted(inputs):
        content.update(name.encode() + b"\0" + np.ascontiguousarray(inputs[name]).tobytes())
    return content.hexdigest()[:32]


def write(path: Path, inputs: Mapping[str, Array], notes: Notes) -> None:
    """Write a sample so that the file is whole or not there; one that is there is replaced."""
    save_arrays(path, inputs, {_NOTES: msgspec.json.encode(notes).decode()})


def notes_of(path: Path) -> Notes:
    """What is known of a sample.

    Raises:
        DamagedSampleError: the file is none.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return _DECODER.decode((file.metadata() or {}).get(_NOTES, ""))
    except (safetensors.SafetensorError, *UNREADABLE) as error:
        raise DamagedSampleError(f"{path} holds no sample: {error}.") from None


def stored(folder: Path) -> Iterator[tuple[Path, Notes]]:
    """All whole samples in a folder."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            yield path, notes_of(path)
        except (DamagedSampleError, FileNotFoundError):
            continue

"""A linear code taken apart: its numbers, which may be added, and all else of it, by which their sum is decoded.

All senders of a round have that in common, as they draw from one seed; who has another is added apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import safetensors
import safetensors.numpy

from fogline.stages.base import Named, StageError
from fogline.stages.vector_code import SHAPE, VALUES, VectorCode, claimed

_NUMBERS = f"{VALUES}/"


def apart(encoded: Named, code: VectorCode) -> tuple[Named, bytes]:
    """The numbers by the names of their vectors, and the rest.

    Raises:
        StageError: it is no such code; one sentence.
    """
    code.check_encoded(encoded)
    numbers = {name.removeprefix(_NUMBERS): array for name, array in encoded.items() if name.startswith(_NUMBERS)}
    rest = {name: array for name, array in encoded.items() if not name.startswith(_NUMBERS)}
    return numbers, safetensors.numpy.save(rest)


def together(numbers: Named, rest: bytes) -> Named:
    """What :func:`apart` took apart.

    Raises:
        StageError: the rest is none.
    """
    return {_NUMBERS + name: array for name, array in numbers.items()} | _read(rest)


@lru_cache(64)
def lengths(rest: bytes) -> Mapping[str, int]:
    """How many numbers each vector has of which that is the rest of the code.

    Raises:
        StageError: it is none.
    """
    shapes = {name.removeprefix(f"{SHAPE}/"): array for name, array in _read(rest).items() if name.startswith(SHAPE)}
    return {name: claimed(name, shape).count for name, shape in shapes.items()}


def _read(rest: bytes) -> Named:
    try:
        return safetensors.numpy.load(rest)
    except safetensors.SafetensorError as error:
        raise StageError(f"what it says of its code cannot be read: {error}") from error

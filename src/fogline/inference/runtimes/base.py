"""What runs a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fogline.errors import InputError
from fogline.inference.card import Asset

Array = npt.NDArray[Any]
Locate = Callable[[Asset], Path]
"""Where a file of a version lies on this machine."""
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Computes tensors by name from tensors by name; the first axis of all is the batch."""

NUMPY: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
"""Arrays of each datatype; BYTES are objects of type ``bytes``."""


class ModelError(InputError, RuntimeError):
    """A model cannot be loaded or run; the text is a sentence."""


class Runtime(Protocol):
    """A loaded model. It may be called from several threads."""

    name: str
    """``onnx``, ``staged``, ``dense`` or ``torch``, with the variant: ``onnx/int8``."""
    stages: Sequence[Run]
    """The model in parts, one for each early exit: each takes the inputs and what those before it gave. Empty where it
    only runs as a whole."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, for a batch (first axis) of every input.

        Raises:
            ModelError: it cannot.
        """
        ...

    def close(self) -> None:
        """Let go of its memory."""
        ...

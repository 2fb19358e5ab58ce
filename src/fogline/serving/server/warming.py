"""The first runs of a model, and how long one takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from fogline.inference.card import Card
from fogline.inference.runtimes.base import NUMPY, Array, Locate, ModelError, Runtime

INSTANT = 300e-6
"""Seconds up to which a model is run at once: handing it to a thread and back takes as long."""
RUNS = 5
MANY = 8
"""Examples in the second batch, from which follows what one more example costs."""


def warm_up(card: Card, locate: Locate, runtime: Runtime) -> int:
    """Run a model a few times; the largest batch that it answers within :data:`INSTANT`, 0 if not even one.

    Raises:
        ModelError: it cannot be run on its own golden samples.
    """
    golden = _golden(card, locate)
    one = {tensor.name: _blank(tensor.datatype, tensor.shape) for tensor in card.inputs} | golden
    try:
        seconds = _fastest(runtime, one)
    except ModelError:
        if golden:
            raise
        return 0  # Made-up inputs, such as a sentence of one zero, need not make sense.
    if seconds > INSTANT:
        return 0
    if any(tensor.shape[:1] != (-1,) for tensor in card.inputs):
        return 1
    many = {name: np.repeat(array, MANY, axis=0) for name, array in one.items()}
    each = max((_fastest(runtime, many) - seconds) / (MANY - 1), 1e-7)
    return 1 + int((INSTANT - seconds) / each)


def _fastest(runtime: Runtime, inputs: Mapping[str, Array]) -> float:
    """Seconds of the fastest of a few runs: the others were disturbed."""
    times: list[float] = []
    for _ in range(RUNS):
        began = time.perf_counter()
        runtime.run(inputs)
        times.append(time.perf_counter() - began)
    return min(times)


def _golden(card: Card, locate: Locate) -> dict[str, Array]:
    """The first golden sample; empty where there is none."""
    if card.golden is None:
        return {}
    from safetensors.numpy import load_file

    tensors = load_file(locate(card.golden))
    samples = {tensor.name: tensors.get(f"input/{tensor.name}") for tensor in card.inputs}
    return {name: array[:1] for name, array in samples.items() if array is not None}


def _blank(datatype: str, shape: tuple[int, ...]) -> Array:
    array = np.zeros([1 if size == -1 else size for size in shape], NUMPY[datatype])
    if datatype == "BYTES":
        array[...] = b""
    return array

"""How large a batch a model answers at once."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from fogline.inference.card import Card
from fogline.inference.runtimes.base import Array, Locate, ModelError, Runtime
from fogline.inference.runtimes.choose import sample_of

INSTANT = 300e-6
"""Seconds up to which a model is run at once: handing it to a thread and back takes as long."""
RUNS = 5
MANY = 8
"""Examples in the second batch, from which follows what one more example costs."""


def warm_up(card: Card, locate: Locate, runtime: Runtime) -> int:
    """Run a model a few times; the largest batch that it answers within :data:`INSTANT`, 0 if not even one."""
    one = sample_of(card, locate)
    try:
        seconds = _fastest(runtime, one)
        if seconds > INSTANT or any(tensor.shape[:1] != (-1,) for tensor in card.inputs):
            return int(seconds <= INSTANT)
        many = _fastest(runtime, {name: np.repeat(array, MANY, axis=0) for name, array in one.items()})
    except ModelError:
        return 0  # A sample of zeros need not make sense to it.
    each = max((many - seconds) / (MANY - 1), 1e-7)
    return 1 + int((INSTANT - seconds) / each)


def _fastest(runtime: Runtime, inputs: Mapping[str, Array]) -> float:
    """Seconds of the fastest of a few runs: the others were disturbed."""
    times: list[float] = []
    for _ in range(RUNS):
        began = time.perf_counter()
        runtime.run(inputs)
        times.append(time.perf_counter() - began)
    return min(times)

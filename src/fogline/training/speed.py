"""How fast this machine trains, in the unit in which simulated devices are."""

from __future__ import annotations

from time import perf_counter

import numpy as np

SIDE = 512
REPEATS = 8
MFLOP = 2.0 * SIDE**3 * 1e-6


def measured_speed() -> float:
    """Examples per second of a model that takes 1 MFLOP per example: products of matrices of this size, the median of
    a few; under 0.1 s on most machines. A model of small layers is slower everywhere."""
    a, b = np.random.default_rng(0).standard_normal((2, SIDE, SIDE), np.float32)
    taken: list[float] = []
    for _ in range(REPEATS):
        begun = perf_counter()
        np.matmul(a, b)
        taken.append(perf_counter() - begun)
    return MFLOP / float(np.median(taken))

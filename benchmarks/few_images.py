"""Data that several benchmarks train on: few images on each of some unlike devices."""

from __future__ import annotations

import numpy as np

import fogline
from fogline.data import Examples


def few_images(
    name: str, devices: int, images: int, tested: int, seed: int, flat: bool = False
) -> tuple[list[Examples], Examples]:
    """So many images of each device, Dirichlet(0.3) by class and drawn by the seed; and the first of the test set."""
    whole = fogline.load(name, clients=devices, partition="dirichlet", alpha=0.3, seed=seed, flat=flat)
    assert whole.test is not None
    rng = np.random.default_rng(seed)
    parts = list[Examples]()
    for place in range(devices):
        examples = whole.at(place)
        parts.append(examples.part(rng.permutation(examples.count)[:images]))
    return parts, whole.test.part(slice(tested))

"""A model that goes down to a device, cut to the smaller one that the device has."""

from __future__ import annotations

import numpy as np

from fogline.algorithms.group import Down
from fogline.params import Spec
from fogline.params.ranges import ModelRanges


def model_part(down: Down, spec: Spec, ranges: ModelRanges) -> Down:
    """The numbers of a model that a smaller one has.

    Args:
        down: the whole.
        spec: its layout.
        ranges: of the smaller one.

    Raises:
        ValueError: they are not of that model; one sentence.
    """
    ranges.check(spec)
    places = np.concatenate([ranges.trained(spec), spec.trainable + ranges.buffers(spec)])
    return Down(down.vector[places], down.counters[ranges.counters(spec)], down.received, down.clip)

"""Examples from the movement of a first dense layer: no search, one division.

A unit's gradient is the sum over examples of how much the loss wants of the unit, times the example; its bias's is the
same sum without the example. Where one example alone moves a unit, one over the other is that example (Phong et al.,
2017; Geiping et al., NeurIPS 2020, section 5). Learning rate and number of steps fall out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
ALIKE = 0.02
"""Relative distance up to which two units speak of the same example."""
FAINT = 1e-4
"""Of the largest movement of a bias: a unit that moves less says nothing above rounding."""


class InputCandidates(NamedTuple):
    """What the units of a layer speak of, the surest first."""

    inputs: Array
    """(k, features)"""
    units: npt.NDArray[np.int64]
    """(k,) how many units agree on each."""


def candidates(weights: npt.ArrayLike, biases: npt.ArrayLike, low: float, high: float) -> InputCandidates:
    """The inputs that a dense layer's movement speaks of.

    What several units agree on comes first: mixtures of examples differ from unit to unit. Next comes what lies within
    the range that inputs have.

    Args:
        weights: (units, features) how far the layer's weights moved.
        biases: (units,) how far its biases moved.
        low: the least number that an input has.
        high: the largest.
    """
    moved, by = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
    size = np.abs(by)
    loud = np.flatnonzero(size > FAINT * size.max(initial=0.0))
    loud = loud[np.argsort(-size[loud], kind="stable")]
    inputs: list[Array] = []
    units: list[int] = []
    for ratio in moved[loud] / by[loud, None]:
        for place, known in enumerate(inputs):
            if np.linalg.norm(ratio - known) <= ALIKE * np.linalg.norm(known):
                units[place] += 1
                break
        else:
            inputs.append(ratio)
            units.append(1)
    found, agreed = np.array(inputs).reshape(-1, moved.shape[1]), np.array(units, np.int64)
    outside = (np.maximum(low - found, 0) + np.maximum(found - high, 0)).mean(1) if len(found) else np.zeros(0)
    order = np.lexsort((outside, -agreed))
    return InputCandidates(found[order], agreed[order])

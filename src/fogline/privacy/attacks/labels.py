"""How many examples of each class, from the movement of the last layer.

Under cross-entropy, the gradient of a class's bias is how likely the model finds the class, minus its share among the
examples (iDLG: Zhao et al., 2020; for batches: Wainakh et al., PoPETs 2022). So the share is what the model expected,
plus the movement over learning rate and steps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def label_counts(moved: npt.ArrayLike, expected: npt.ArrayLike, examples: int, scale: float | None) -> Counts:
    """(classes,) how many examples of each class are behind a movement; they add up to ``examples``.

    Args:
        moved: (classes,) how far the biases of the last layer moved, or anything in proportion to it.
        expected: (classes,) the model's mean probability of each class, before the movement.
        examples: how many there are.
        scale: learning rate times steps; None where something has stretched the movement. Then the class that fell
            furthest, for what was expected of it, is taken to have no example.
    """
    delta, prior = np.asarray(moved, np.float64), np.maximum(np.asarray(expected, np.float64), 1e-6)
    delta = delta - delta.mean()
    if scale is None:
        scale = float(np.max(-delta / prior))
    share = np.maximum(prior + delta / scale, 0.0) if scale > 0 else prior
    return apportioned(share, examples)


def apportioned(share: npt.ArrayLike, examples: int) -> Counts:
    """Whole numbers in proportion to shares (classes,), by the largest remainders."""
    exact = np.asarray(share, np.float64)
    exact = exact / exact.sum() * examples
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: examples - int(counts.sum())]] += 1
    return counts


def overlap(guessed: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """The share of labels, counted by class, that a guess has right: from 0 to 1."""
    truth = np.asarray(true, np.float64)
    return float(np.minimum(np.asarray(guessed, np.float64), truth).sum() / truth.sum())

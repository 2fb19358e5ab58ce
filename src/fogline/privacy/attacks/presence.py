"""Which of some examples are behind a movement of the model: how much of each one's gradient is in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
RIDGE = 1e-3
"""Of the mean squared length of the gradients."""


def presence(moved: npt.ArrayLike, gradients: npt.ArrayLike) -> Array:
    """(n,) how much of each gradient a movement holds, those of the others taken out: coefficients of ridge regression.

    Gradients of other examples of the same kind belong among them: they stand for what else was trained on.

    Args:
        moved: (P,) the movement.
        gradients: (n, P) of the loss at the model before it.
    """
    rows = np.asarray(gradients, np.float64)
    gram = rows @ rows.T
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / max(len(gram), 1) + 1e-30
    return np.asarray(-np.linalg.solve(gram, rows @ np.asarray(moved, np.float64)), np.float64)

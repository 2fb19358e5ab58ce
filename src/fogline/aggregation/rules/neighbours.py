"""Scores by nearest neighbours, which Krum and the rules beside it share."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Matrix


def krum_scores(distances: Matrix, neighbours: int) -> Matrix:
    """The sum of the squared distances of each update to its nearest others, (updates,).

    Args:
        distances: (updates, updates), squared.
        neighbours: how many others count, at least one.
    """
    others = distances + np.diag(np.full(len(distances), np.inf))
    return np.sort(others, axis=1)[:, : max(1, neighbours)].sum(axis=1)

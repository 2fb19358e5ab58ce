"""From sums over examples to the metrics that people read, and what is known of a metric by its name."""

from __future__ import annotations

import math

from fogline.data import Meaning

Sums = dict[str, float]
"""Sums over examples, always with ``count``: they add up over devices, fogs and batches."""

CLASS_SUMS = ("count", "loss", "correct")
NUMBER_SUMS = ("count", "loss", "squared_error", "absolute_error")
"""What tasks of classes and of numbers sum up; where nobody knows what outputs mean, the first two."""

HIGHER = ("accuracy", "precision", "recall", "f1", "auc", "r2", "score")
LOWER = ("loss", "error", "rmse", "mse", "mae", "perplexity")


def class_metrics(sums: Sums) -> dict[str, float]:
    """``loss`` and ``accuracy``; only ``loss``, where sums were made without knowing what outputs mean."""
    count = _count(sums)
    metrics = {"loss": sums.get("loss", 0.0) / count}
    return metrics if sums and "correct" not in sums else metrics | {"accuracy": sums.get("correct", 0.0) / count}


def number_metrics(sums: Sums, meaning: Meaning) -> dict[str, float]:
    """``loss`` as trained, and ``rmse`` and ``mae`` in the target's own unit; only ``loss``, where sums were made
    without knowing what outputs mean."""
    count, scale = _count(sums), abs(meaning.target_scale)
    metrics = {"loss": sums.get("loss", 0.0) / count}
    if sums and "squared_error" not in sums:
        return metrics
    return metrics | {
        "rmse": scale * math.sqrt(sums.get("squared_error", 0.0) / count),
        "mae": scale * sums.get("absolute_error", 0.0) / count,
    }


def is_better_higher(metric: str) -> bool:
    """Whether a higher value is better: for accuracies and the like; not for losses and errors.

    Raises:
        ValueError: the name does not tell.
    """
    words = metric.lower()
    if any(word in words for word in LOWER):
        return False
    if any(word in words for word in HIGHER):
        return True
    raise ValueError(
        f"The headline '{metric}' does not tell whether a higher value is better; pass higher_is_better=True or False."
    )


def _count(sums: Sums) -> float:
    return max(sums.get("count", 0.0), 1.0)

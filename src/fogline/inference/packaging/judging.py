"""How good a model's outputs are, and how much a variant's differ: in numpy, for whatever ran it."""

from __future__ import annotations

import numpy as np

from fogline.data import Meaning
from fogline.inference.card import Scores
from fogline.inference.runtimes.base import Array

IGNORED = -100
"""A class label that marks a place without a truth."""
COLDEST, HOTTEST, STEPS = 0.05, 20.0, 25


def scores_of(name: str, output: Array, meaning: Meaning) -> Scores | None:
    """What a classifier's output is; None if it gives no (batch, classes)."""
    if output.ndim != 2 or output.shape[1] < 2:
        return None
    sums = output.sum(1)
    probable = bool((output >= 0).all() and (np.abs(sums - 1) < 1e-3).all())
    names = meaning.class_names or ()
    labels = tuple(names) if len(names) == output.shape[1] else ()
    return Scores(name, "probabilities" if probable else "logits", labels=labels)


def fitted_temperature(logits: Array, labels: Array) -> float:
    """The temperature that gives the labels the highest likelihood (Guo et al., 2017, section 4.2).

    The mean negative log-likelihood has one minimum along the axis of inverse temperatures; it is found by golden
    sections of that axis' logarithm, between 1/20 and 20.

    Args:
        logits: (n, classes).
        labels: (n,) of held-out examples.
    """
    wide = logits.astype(np.float64)

    def loss(log: float) -> float:
        scaled = wide / np.exp(log)
        scaled -= scaled.max(1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(labels)), labels]).mean())

    section = (np.sqrt(5) - 1) / 2
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(STEPS):
        left, right = high - section * (high - low), low + section * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return round(float(np.exp((low + high) / 2)), 4)


def agreement(right: Array, given: Array, classifies: bool) -> float:
    """Share of equal classes (last axis, or axis 1 of images); for numbers, the explained variance."""
    if classifies:
        return float((_classes(right) == _classes(given)).mean())
    spread = float(np.square(right - right.mean(0)).sum())
    error = float(np.square(given.astype(np.float64) - right).sum())
    return 1.0 - error / spread if spread else float(error == 0)


def judged(output: Array, y: Array, meaning: Meaning, classifies: bool) -> dict[str, float]:
    """``accuracy``, or ``rmse`` and ``mae`` in people's units, of outputs in these units.

    Args:
        output: (n, classes) or with more axes; (n,) or (n, k) numbers.
        y: targets as in the data set.
        meaning: of the targets.
        classifies: whether they are classes.
    """
    if classifies:
        known = y != IGNORED
        return {"accuracy": float((_classes(output) == y)[known].mean())}
    error = output.reshape(y.shape).astype(np.float64) - (y * meaning.target_scale + meaning.target_offset)
    return {"rmse": float(np.sqrt(np.square(error).mean())), "mae": float(np.abs(error).mean())}


def _classes(output: Array) -> Array:
    return output.argmax(1 if output.ndim == 4 else -1)

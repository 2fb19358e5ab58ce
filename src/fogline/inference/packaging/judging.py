"""How good a model's outputs are, and how much a variant's differ: in numpy, for whatever ran it."""

from __future__ import annotations

import numpy as np

from fogline.inference.card import Scores
from fogline.inference.runtimes.base import Array
from fogline.training.task import Task

COLDEST, HOTTEST, STEPS = 0.05, 20.0, 25


def scores_of(name: str, output: Array, task: Task) -> Scores | None:
    """What a classifier's output is: (batch, classes), or one column, the score of the second of two classes; None if
    it is neither."""
    columns = output.shape[1] if output.ndim == 2 else 1
    if output.ndim > 2 or (columns == 1) != (task.threshold is not None):
        return None
    sums = output.sum(1) if columns > 1 else np.ones(1)
    probable = bool((output >= 0).all() and (output <= 1).all() and (np.abs(sums - 1) < 1e-3).all())
    if columns == 1:
        probable = probable and task.threshold == 0.5
    names = task.data.meaning.class_names or ()
    labels = tuple(names) if len(names) == max(columns, 2) else ()
    return Scores(name, "probabilities" if probable else "logits", labels=labels)


def fitted_temperature(logits: Array, labels: Array) -> float:
    """The temperature that gives the labels the highest likelihood (Guo et al., 2017, section 4.2).

    The mean negative log-likelihood has one minimum along the axis of inverse temperatures; it is found by golden
    sections of that axis' logarithm, between 1/20 and 20.

    Args:
        logits: (n, classes), or (n,) or (n, 1): of the second of two classes.
        labels: (n,) of held-out examples.
    """
    wide = logits.astype(np.float64).reshape(len(logits), -1)
    wide = np.hstack([np.zeros_like(wide), wide]) if wide.shape[1] == 1 else wide

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


def agreement(right: Array, given: Array, task: Task) -> float:
    """Share of equal classes; for numbers, the explained variance."""
    if task.classifies:
        return float((task.named(right) == task.named(given)).mean())
    spread = float(np.square(right - right.mean(0)).sum())
    error = float(np.square(given.astype(np.float64) - right).sum())
    return 1.0 - error / spread if spread else float(error == 0)


def judged(output: Array, y: Array, task: Task) -> dict[str, float]:
    """``accuracy``, or ``rmse`` and ``mae`` in people's units, of outputs in these units.

    Args:
        output: (n, classes) or with more axes; (n,) or (n, k) numbers.
        y: truths, as ``task.truth`` gives them.
        task: whose outputs they are.
    """
    if task.classifies:
        found = task.named(output).reshape(y.shape)
        return {"accuracy": float((found == y)[task.known(y)].mean())}
    meaning = task.data.meaning
    error = output.reshape(y.shape).astype(np.float64) - (y * meaning.target_scale + meaning.target_offset)
    return {"rmse": float(np.sqrt(np.square(error).mean())), "mae": float(np.abs(error).mean())}

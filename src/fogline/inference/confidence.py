"""How sure a model is: the probability of the class that it names (maximum softmax probability).

Hendrycks and Gimpel, 2017 (arXiv 1610.02136); logits are divided by the card's temperature first (Guo et al., 2017).
One column of scores, or a shape of (rows,), is the score of the second of two classes, through the logistic function.
Whatever a model gives, the answer is finite: a row that holds a NaN has no probabilities and no confidence (zeros).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fogline.inference.card import Scores
from fogline.inference.runtimes.base import Array

Numbers = npt.NDArray[np.float64]

_FEW = 64
"""Classes up to which plain Python is faster for one row than numpy's calls are."""


def probabilities(scores: Scores, outputs: Mapping[str, Array]) -> Numbers:
    """Of every class, (rows, classes)."""
    values = _columns(outputs[scores.output])
    with np.errstate(all="ignore"):
        if scores.kind == "probabilities":
            shares = np.clip(values, 0.0, 1.0)
            shares = shares if shares.shape[1] != 1 else np.hstack([1.0 - shares, shares])
        else:
            values = values if values.shape[1] != 1 else np.hstack([np.zeros_like(values), values])
            shares = _softmax(values, scores.temperature)
    broken = np.isnan(shares).any(1)
    if broken.any():
        shares[broken] = 0.0
    return shares


def confidence(scores: Scores, outputs: Mapping[str, Array]) -> Numbers:
    """Of the likeliest class, (rows,), in [0, 1]."""
    values = outputs[scores.output]
    if scores.kind == "logits" and values.ndim == 2 and values.shape[0] == 1 and 1 < values.shape[1] <= _FEW:
        sure = _of_one_row(values[0].tolist(), scores.temperature)
        if math.isfinite(sure):
            return np.array([sure])
    shares = probabilities(scores, outputs)
    return shares.max(1) if shares.shape[1] else np.zeros(len(shares))


def classes(scores: Scores, outputs: Mapping[str, Array]) -> npt.NDArray[np.int64]:
    """The likeliest class of every row, (rows,)."""
    values = _columns(outputs[scores.output])
    if values.shape[1] == 1:
        return (values[:, 0] > (0.0 if scores.kind == "logits" else 0.5)).astype(np.int64)
    return values.argmax(1) if values.shape[1] else np.zeros(len(values), np.int64)


def _columns(values: Array) -> Numbers:
    return values.astype(np.float64).reshape(len(values), values.shape[1] if values.ndim > 1 else 1)


def _softmax(logits: Numbers, temperature: float) -> Numbers:
    if not logits.size:
        return logits
    # An infinite logit takes all, and several share: the largest number does the same without inf - inf.
    logits = np.where(np.isinf(logits), np.copysign(np.finfo(np.float64).max / 4, logits), logits)
    powers = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
    return powers / powers.sum(1, keepdims=True)


def _of_one_row(logits: list[float], temperature: float) -> float:
    """1 / sum of exp((z - max) / T); not finite where the row is odd."""
    top = max(logits)
    return 1.0 / sum([math.exp((logit - top) / temperature) for logit in logits])

"""A lower bound on epsilon from a single run with many canaries (Steinke, Nasr and Jagielski, NeurIPS 2023).

Each canary is put into the data or left out by the flip of a coin. Who guesses the coins better than an
(epsilon, delta)-private run allows has shown that the run is not so private.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
GUESSED = (1.0, 0.5, 0.25, 0.125)
"""Shares of the canaries that are guessed at: those that score highest and lowest. All are tried, and pay for it."""
LARGEST = 30.0
"""No audit shows more."""


class Bound(NamedTuple):
    """What a run has shown."""

    epsilon: float
    """It is not private below that."""
    correct: int
    guesses: int
    most: float
    """What as many canaries could have shown if every guess had been right."""


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """How likely at least so many right guesses are at most, if the run is (epsilon, delta)-private (theorem 5.2).

    Args:
        canaries: all of them.
        guesses: those that were guessed at.
        correct: guesses that were right.
        epsilon: at least 0.
        delta: from 0 to 1.
    """
    chances = _binomial(guesses, 1 / (1 + math.exp(-epsilon)))
    tail = float(chances[correct:].sum())
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    below = np.cumsum(chances[correct - 1 :: -1])
    return min(1.0, tail + 2 * canaries * delta * float((below / np.arange(1, correct + 1)).max()))


def least_epsilon(canaries: int, guesses: int, correct: int, delta: float, doubt: float) -> float:
    """The largest epsilon that is refuted with so much doubt left; 0 if none is."""
    if p_value(canaries, guesses, correct, 0.0, delta) > doubt:
        return 0.0
    low, high = 0.0, LARGEST
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(canaries, guesses, correct, middle, delta) <= doubt else (low, middle)
    return low


def bound(scores: npt.ArrayLike, inside: npt.ArrayLike, delta: float, confidence: float = 0.95) -> Bound:
    """What a run has shown of its epsilon.

    Args:
        scores: (canaries,) higher where the attacker thinks that it was in.
        inside: (canaries,) whether it was.
        delta: at which.
        confidence: with which the bound holds.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    coins, count = np.asarray(inside, np.bool_)[order], len(order)
    doubt, best = (1 - confidence) / len(GUESSED), Bound(0.0, 0, 0, 0.0)
    for share in GUESSED:
        half = int(share * count) // 2
        if not half:
            continue
        correct = int(coins[:half].sum() + (~coins[count - half :]).sum())
        epsilon = least_epsilon(count, 2 * half, correct, delta, doubt)
        most = max(best.most, least_epsilon(count, 2 * half, 2 * half, delta, doubt))
        if epsilon > best.epsilon or not best.guesses:
            best = Bound(epsilon, correct, 2 * half, most)
        best = best._replace(most=most)
    return best


def _binomial(count: int, chance: float) -> Array:
    """(count + 1,) probability of each number of successes."""
    k = np.arange(count + 1)
    factorials = np.array([math.lgamma(i + 1) for i in range(count + 1)])
    logs = factorials[count] - factorials[k] - factorials[count - k]
    return np.exp(logs + k * math.log(chance) + (count - k) * math.log1p(-chance))

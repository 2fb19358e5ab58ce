"""Early exit: of a model with several outputs, cheapest first, the first sure one answers.

BranchyNet, Teerapittayanon et al., 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from fogline.inference.card import Exits, Scores
from fogline.inference.cascade import PolicyError, fit
from fogline.inference.confidence import classes, confidence
from fogline.inference.runtimes.base import Array


class Wanted(NamedTuple):
    """Exits whose thresholds are yet to be fitted."""

    outputs: tuple[str, ...]
    """Cheapest first."""
    accuracy: float | None = None
    """That the whole must reach on held-out examples; None: what the last exit reaches alone."""


class Chosen(NamedTuple):
    """The answer of every row."""

    scores: Array
    """(rows, classes), each row from its exit."""
    exits: Array
    """(rows,), number of the exit."""


def choose(exits: Exits, scores: Scores, outputs: Mapping[str, Array]) -> Chosen:
    """For every row the first output that is sure, or the last.

    Args:
        exits: of the card.
        scores: of the card; all exits give the same kind of scores, at the same temperature.
        outputs: of the model, with all exits among them.
    """
    answer = outputs[exits.outputs[-1]].copy()
    places = np.full(len(answer), len(exits.outputs) - 1)
    for place in range(len(exits.outputs) - 2, -1, -1):
        name = exits.outputs[place]
        sure = confidence(msgspec.structs.replace(scores, output=name), outputs) >= exits.thresholds[place]
        answer[sure] = outputs[name][sure]
        places[sure] = place
    return Chosen(answer, places)


def fit_exits(
    outputs: tuple[str, ...], confidences: Sequence[Array], correct: Sequence[Array], target_accuracy: float
) -> Exits:
    """Thresholds that reach a target accuracy: as many rows as can leave at the cheapest exit, then at the next.

    Args:
        outputs: names of the exits, cheapest first.
        confidences: (rows,) of every exit but the last.
        correct: (rows,) whether each exit is right, the last included.
        target_accuracy: of the whole.

    Raises:
        PolicyError: the target cannot be reached; the sentence says what can be.
    """
    staying = np.ones(len(correct[-1]), np.bool_)
    thresholds: list[float] = []
    needed = target_accuracy * len(staying)
    for sure, right in zip(confidences, correct[:-1], strict=True):
        if not staying.any():
            thresholds.append(0.0)
            continue
        kind = outputs[len(thresholds)]
        try:
            cascade = fit(sure[staying], right[staying], correct[-1][staying], to="exit",
                          target_accuracy=needed / staying.sum())  # fmt: skip
        except PolicyError as error:
            raise PolicyError(f"Exit '{kind}': {error}") from None
        thresholds.append(cascade.threshold)
        leaving = staying & (sure >= cascade.threshold)
        needed -= float(np.sum(right[leaving]))
        staying &= ~leaving
    return Exits(outputs, tuple(thresholds))


def fitted(wanted: Wanted, scores: Scores, outputs: Mapping[str, Array], truth: Array) -> Exits:
    """Exits with thresholds that reach what is wanted on these examples.

    Args:
        wanted: names and accuracy.
        scores: of the card.
        outputs: of the model, by name.
        truth: (rows,) the true classes.

    Raises:
        PolicyError: it cannot be reached.
    """
    each = [msgspec.structs.replace(scores, output=name) for name in wanted.outputs]
    sure = [confidence(one, outputs) for one in each[:-1]]
    right = [classes(one, outputs) == truth for one in each]
    accuracy = float(right[-1].mean()) if wanted.accuracy is None else wanted.accuracy
    return fit_exits(wanted.outputs, sure, right, accuracy)

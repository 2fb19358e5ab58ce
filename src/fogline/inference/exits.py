"""Early exit: of a model with several outputs, cheapest first, the first sure one answers.

BranchyNet, Teerapittayanon et al., 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from fogline.inference.card import Card, Exits, Scores
from fogline.inference.cascade import CascadePolicyError, fit
from fogline.inference.confidence import classes, confidence
from fogline.inference.runtimes.base import Array, Run, Runtime

if TYPE_CHECKING:
    from fogline.jobs.job import Publish


class UnfittedExits(NamedTuple):
    """Exits whose thresholds are yet to be fitted."""

    outputs: tuple[str, ...]
    """Cheapest first."""
    accuracy: float | None = None
    """That the whole must reach on held-out examples; None: what the last exit reaches alone."""


def wanted_of(publish: Publish) -> UnfittedExits | None:
    """What a job says of its model's exits; None: it has none."""
    return UnfittedExits(publish.exits, publish.exit_accuracy) if publish.exits else None


class ExitChoice(NamedTuple):
    """The answer of every row."""

    scores: Array
    """(rows, classes), each row from its exit."""
    exits: Array
    """(rows,), number of the exit."""


def choose(exits: Exits, scores: Scores, outputs: Mapping[str, Array]) -> ExitChoice:
    """For every row the first output that is sure, or the last.

    Args:
        exits: of the card.
        scores: of the card; all exits give the same kind of scores, at the same temperature.
        outputs: of the model, with all exits among them.
    """
    return _first_sure(exits, _scores_of_each(exits, scores), outputs, [_nothing] * len(exits.outputs))


def settled(card: Card, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """A model's outputs as clients are given them (:attr:`Card.answers`)."""
    if card.exits is None or card.scores is None:
        return outputs
    return {card.scores.output: choose(card.exits, card.scores, outputs).scores}


class EarlyExit:
    """Answers with the first sure exit, and runs a model no further than that where it comes in stages.

    It may be called from several threads.

    Args:
        exits: of the card.
        scores: of the card.
        runtime: that runs the model.
    """

    def __init__(self, exits: Exits, scores: Scores, runtime: Runtime) -> None:
        self._exits = exits
        self._each = _scores_of_each(exits, scores)
        self._stages = runtime.stages or (runtime.run, *[_nothing] * (len(exits.outputs) - 1))
        self._counting = Lock()
        self.left = [0] * len(exits.outputs)
        """Rows that each exit answered."""

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The answers, under the name of the last exit.

        Raises:
            ModelError: the model cannot be run.
        """
        chosen = _first_sure(self._exits, self._each, inputs, self._stages)
        with self._counting:
            for place in chosen.exits.tolist():
                self.left[place] += 1
        return {self._exits.outputs[-1]: chosen.scores}


def _first_sure(exits: Exits, each: Sequence[Scores], values: Mapping[str, Array], stages: Sequence[Run]) -> ExitChoice:
    """Run stage after stage, each for the rows of which no exit before it was sure."""
    known = {**values, **stages[0](values)}
    answer = known[exits.outputs[0]].copy()
    rows, places = np.arange(len(answer)), np.zeros(len(answer), np.int64)
    for place, threshold in enumerate(exits.thresholds):
        staying = ~(confidence(each[place], known) >= threshold)
        if not staying.any():
            break
        if not staying.all():
            rows, known = rows[staying], {name: array[staying] for name, array in known.items()}
        known |= stages[place + 1](known)
        answer[rows], places[rows] = known[exits.outputs[place + 1]], place + 1
    return ExitChoice(answer, places)


def _scores_of_each(exits: Exits, scores: Scores) -> list[Scores]:
    return [msgspec.structs.replace(scores, output=name) for name in exits.outputs]


def _nothing(values: Mapping[str, Array]) -> dict[str, Array]:
    """A stage of which all was computed before."""
    del values
    return {}


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
        CascadePolicyError: the target cannot be reached; the sentence says what can be.
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
        except CascadePolicyError as error:
            raise CascadePolicyError(f"Exit '{kind}': {error}") from None
        thresholds.append(cascade.threshold)
        leaving = staying & (sure >= cascade.threshold)
        needed -= float(np.sum(right[leaving]))
        staying &= ~leaving
    return Exits(outputs, tuple(thresholds))


def fitted(wanted: UnfittedExits, scores: Scores, outputs: Mapping[str, Array], truth: Array) -> Exits:
    """Exits with thresholds that reach what is wanted on these examples.

    Args:
        wanted: names and accuracy.
        scores: of the card.
        outputs: of the model, by name.
        truth: (rows,) the true classes.

    Raises:
        CascadePolicyError: it cannot be reached.
    """
    each = _scores_of_each(Exits(wanted.outputs, ()), scores)
    sure = [confidence(one, outputs) for one in each[:-1]]
    right = [classes(one, outputs) == truth for one in each]
    accuracy = float(right[-1].mean()) if wanted.accuracy is None else wanted.accuracy
    return fit_exits(wanted.outputs, sure, right, accuracy)

"""What was answered to the last requests, for labels that come later."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from fogline.inference.card import Card
from fogline.inference.confidence import classes
from fogline.inference.runtimes.base import Array


class Answers:
    """A bounded memory of answers by request; the oldest is forgotten first.

    An answer is a class where the card names scores. Otherwise it is a number, which counts as correct if it is within
    twice the card's ``rmse`` of the label (19 of 20 answers of a model that errs as it did in training, if errors are
    normal); answers of a model with neither cannot be judged, and are not kept.

    Args:
        card: of the version.
        most: rows that are remembered.
    """

    def __init__(self, card: Card, most: int = 16384) -> None:
        self._scores = card.scores
        self._output = card.answers[0].name
        self._within = 2 * card.metrics.get("rmse", 0.0)
        self._left = most
        self._given: OrderedDict[str, Array] = OrderedDict()

    def remember(self, request: str, outputs: Mapping[str, Array]) -> None:
        """Keep what was answered to a request, until its label comes."""
        if self._scores is not None:
            answers = classes(self._scores, outputs)
        elif self._within > 0:
            answers = outputs[self._output].astype(np.float32)
        else:
            return
        self.forget(request)
        self._given[request] = answers
        self._left -= len(answers)
        while self._left < 0:
            self._left += len(self._given.popitem(last=False)[1])

    def forget(self, request: str) -> None:
        """A request that was judged."""
        known = self._given.pop(request, None)
        self._left += 0 if known is None else len(known)

    def judge(self, request: str, labels: Sequence[int | float]) -> tuple[int, int]:
        """How many answers could be judged, and how many were correct.

        A request is judged once. None is judged if the request is forgotten or had another number of rows.
        """
        answers = self._given.get(request)
        if answers is None or len(answers) != len(labels) or not labels:
            return 0, 0
        self.forget(request)
        truth = np.array(labels, np.float64)
        if self._scores is not None:
            right = answers == truth
        else:
            right = (np.abs(answers.reshape(len(answers), -1) - truth[:, None]) <= self._within).all(1)
        return len(labels), int(right.sum())

"""How far an attack should go: the factor under which a rule's result is farthest from the honest mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fogline.aggregation.geometry import Matrix
from fogline.aggregation.rows import UpdateRows
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.simulation.attacks.base import Collusion
from fogline.simulation.attacks.view import RoundView

PLACES = 5_000
"""Numbers of an update on which a rule's result is tried out."""


class SearchedCollusion(Collusion):
    """All malicious nodes send ``of_mean * mean + tau * step``; ``tau`` is tried out against the aggregator's own rule.

    Where a rule looks at updates as wholes it is given all of their numbers; the result is compared on 5,000 of them,
    drawn at random.
    """

    evaluations: int = bounded(20, ge=1)
    """Values of ``tau`` that are tried in a round."""

    def line(self, view: RoundView) -> tuple[float, Matrix]:
        """Along what it searches: ``of_mean``, how much of the honest mean is sent in any case, and ``step``,
        (numbers,)."""
        raise NotImplementedError(f"{type(self).__name__} must say along which line it searches: def line(self, view)")

    def together(self, view: RoundView) -> Vector:
        of_mean, step = self.line(view)
        tau = line_search(Trial(view, of_mean, step).distance, self.evaluations)
        return (of_mean * view.mean + tau * step).astype(view.honest.kind)


class Trial:
    """What a rule would make of a round in which all malicious nodes send ``of_mean * mean + tau * step``.

    Args:
        view: of the round.
        of_mean: how much of the honest mean there is in it.
        step: (numbers,)
    """

    def __init__(self, view: RoundView, of_mean: float, step: Matrix) -> None:
        self._view, self._base = view, of_mean / len(view.honest)
        honest = view.honest
        vectors = [*honest.vectors, (step.astype(honest.kind), 1.0)]
        if view.last is not None:
            vectors.append((view.last, 1.0))
        children = [*honest.children, *("" for _ in vectors[len(honest) :])]
        rows = UpdateRows(vectors, np.ones(len(vectors)), children, honest.size)
        self._seen = rows.geometry()
        places = np.random.default_rng(self._seen.seed).choice(honest.size, min(PLACES, honest.size), replace=False)
        self._table = rows.at(np.sort(places))
        self._mean = self._table[: len(honest)].mean(axis=0)

    def distance(self, tau: float) -> float:
        """How far the result is from the mean of the honest updates."""
        honest, liars = len(self._view.honest), self._view.malicious
        sent = np.zeros((honest + liars, len(self._table)))  # Every update of the round, as a sum of what is there.
        sent[:honest, :honest] = np.eye(honest)
        sent[honest:, :honest], sent[honest:, honest] = self._base, tau
        sent[:, honest + 1 :] = -1.0  # Rules that remember see differences from what they made last.
        return float(np.linalg.norm(self._result(sent) - self._mean))

    def _result(self, sent: Matrix) -> Vector:
        rule = self._view.rule
        if rule.mixes:
            seen = self._seen.mixed(sent)
            seen.children = (*self._view.honest.children, *("" for _ in range(self._view.malicious)))
            mixture = rule.prepare(seen)
            sent = sent if mixture is None else mixture.matrix @ sent
        block = sent @ self._table
        made = rule.combine(block, np.ones(len(block))) if rule.combines else block.mean(axis=0)
        return made if self._view.last is None else made + self._table[-1]


def line_search(worth: Callable[[float], float], evaluations: int, step: float = 1.0) -> float:
    """The best of so many numbers from 0 upwards: ever longer steps while they help, then ever shorter ones."""
    best, most = 0.0, worth(0.0)
    grows, forward = True, True
    for _ in range(evaluations - 1):
        tried = max(0.0, best + step if forward else best - step)
        found = worth(tried)
        if found > most:
            best, most = tried, found
            step = 2.0 * step if grows else 0.5 * step
            forward = True
            continue
        grows = False
        step, forward = (step, False) if forward and tried > best > 0.0 else (0.5 * step, True)
    return best

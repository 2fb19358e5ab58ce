"""What a rule sees of a round's updates as wholes: their lengths, angles and distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


class WrongRuleError(TypeError):
    """A rule gives what it must not.

    Args:
        what: it gives; the text stands after its name.
        hook: that gave it, if not its ``combine``.
    """

    def __init__(self, what: str, hook: Callable[..., Any] | None = None) -> None:
        super().__init__(what)
        self.hook = hook


class Mixture(NamedTuple):
    """What takes the updates' place: sums of them.

    Args:
        matrix: (mixtures, updates), how much of each update there is in each.
        noise: standard deviation of what is added to every number of the result.
    """

    matrix: Matrix
    noise: float = 0.0


class Geometry:
    """The updates of a round, or mixtures of them, under one name. Nothing is computed that no rule asks for.

    Args:
        gram: gives the inner products, (updates, updates).
        squares: gives their diagonal alone, (updates,); None where that is no cheaper.
        columns: gives the numbers at some places of all of them, (updates, places).
        weights: (updates,) what each weighs by its own account.
        children: whose they are; empty for mixtures.
        size: numbers of an update.
        seed: of what rules draw.
    """

    def __init__(
        self,
        gram: Callable[[], Matrix],
        squares: Callable[[], Matrix] | None,
        columns: Callable[[npt.NDArray[np.intp]], Matrix],
        weights: Matrix,
        children: Sequence[str],
        size: int,
        seed: Sequence[int],
    ) -> None:
        self._gram, self._squares, self._columns = gram, squares, columns
        self.weights = weights
        self.children = children
        self.size = size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.weights)

    @cached_property
    def gram(self) -> Matrix:
        """(updates, updates), the inner product of each with each, in float64."""
        return self._gram()

    @cached_property
    def norms(self) -> Matrix:
        """(updates,), the length of each."""
        return np.sqrt(np.maximum(self.gram.diagonal(), 0.0) if self._squares is None else self._squares())

    @cached_property
    def distances(self) -> Matrix:
        """(updates, updates), the squared distance of each from each."""
        squares = self.gram.diagonal()
        distances = np.maximum(squares[:, None] + squares - 2.0 * self.gram, 0.0)
        np.fill_diagonal(distances, 0.0)
        return distances

    def distances_from(self, factors: Matrix) -> Matrix:
        """(updates,), how far each is from the sum of the updates times these factors, (updates,)."""
        squares = self.gram.diagonal() - 2.0 * (self.gram @ factors) + factors @ self.gram @ factors
        return np.sqrt(np.maximum(squares, 0.0))

    @cached_property
    def cosines(self) -> Matrix:
        """(updates, updates), the cosine of the angle between each and each; 0 where one has no length."""
        lengths = np.outer(self.norms, self.norms)
        return np.divide(self.gram, lengths, out=np.zeros_like(lengths), where=lengths > 0.0)

    def columns(self, places: npt.NDArray[np.intp]) -> Matrix:
        """(updates, places), the numbers at some places of each update."""
        return self._columns(places)

    def rng(self) -> np.random.Generator:
        """Random numbers that every node draws alike, and that nobody knows who has not seen all updates."""
        return np.random.default_rng(self.seed)

    def mixed(self, matrix: Matrix) -> Geometry:
        """That of mixtures of these, (mixtures, updates)."""

        def gram() -> Matrix:
            products = matrix @ self.gram @ matrix.T
            return 0.5 * (products + products.T)  # Each pair has one distance, to the bit: who is as near comes first.

        return Geometry(
            gram,
            None,
            lambda places: matrix @ self.columns(places),
            np.ones(len(matrix)),
            (),
            self.size,
            (*self.seed, 1),
        )


def krum_scores(distances: Matrix, neighbours: int) -> Matrix:
    """The sum of the squared distances of each update to its nearest others, (updates,): what Krum and the rules beside
    it go by.

    Args:
        distances: (updates, updates), squared.
        neighbours: how many others count, at least one.
    """
    others = distances + np.diag(np.full(len(distances), np.inf))
    return np.sort(others, axis=1)[:, : max(1, neighbours)].sum(axis=1)


def selection(places: Any, updates: int) -> Matrix:
    """The mixture that takes the updates at those places as they are, (places, updates)."""
    return np.eye(updates)[np.asarray(places, np.intp)]


def average(places: Any, updates: int) -> Matrix:
    """The mixture that is the plain mean of the updates at those places, (1, updates)."""
    return selection(places, updates).mean(axis=0, keepdims=True)

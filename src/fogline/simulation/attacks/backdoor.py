"""Backdoor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.data import Examples
from fogline.parameters import bounded
from fogline.simulation.attacks.base import Attack
from fogline.simulation.attacks.registry import ATTACKS


@ATTACKS.add("backdoor")
class Backdoor(Attack):
    """Trains on examples with a pattern, labelled as ``target``, among its own (Gu et al., 2017, arXiv 1708.06733).

    The pattern is a square in the lower right corner of pictures, or the last numbers of a row of them, at the largest
    value that the examples have. It succeeds as far as the model takes whatever has the pattern for the target:
    ``attack_success``, on the test examples of other classes.
    """

    target: int = bounded(0, ge=0)
    """The class."""
    size: int = bounded(3, ge=1)
    """Side of the square; of a row its size times itself."""
    share: float = bounded(0.5, gt=0, le=1)
    """Of a malicious device's examples, how many get the pattern."""

    def poison(self, examples: Examples, classes: int, rng: np.random.Generator) -> Examples:
        which = rng.permutation(examples.count)[: max(1, round(self.share * examples.count))]
        x, y = _pictures(examples).copy(), self._labels(examples, classes).copy()
        x[which], y[which] = self.stamped(x[which]), self.target
        return Examples(x, y)

    def triggered(self, examples: Examples, classes: int) -> Examples:
        others = examples.part(np.flatnonzero(self._labels(examples, classes) != self.target))
        return Examples(self.stamped(_pictures(others)), np.full_like(others.y, self.target))

    def stamped(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Inputs, (n, ...), with the pattern."""
        x, top = x.copy(), x.max() if x.size else 0
        if x.ndim > 2:
            x[..., -self.size :, -self.size :] = top
        else:
            x[..., -self.size * self.size :] = top
        return x

    def _labels(self, examples: Examples, classes: int) -> npt.NDArray[Any]:
        if examples.y.ndim != 1 or examples.y.dtype.kind not in "iu" or self.target >= classes:
            raise ValueError(
                f"A backdoor wants one class for each example, {self.target} among them; the data has labels of shape "
                f"{examples.y.shape} and {classes} classes"
            )
        return examples.y


def _pictures(examples: Examples) -> npt.NDArray[Any]:
    if not isinstance(examples.x, np.ndarray) or examples.x.dtype.kind != "f":
        raise ValueError("A backdoor wants inputs that are one array of numbers, such as pictures, to put a pattern on")
    return examples.x

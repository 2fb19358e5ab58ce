"""Whether a fold would take updates, told from one look at each: nothing is added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from fogline.aggregation.exact import ExactFold
from fogline.aggregation.fold import Fold
from fogline.aggregation.mean import MeanFold
from fogline.aggregation.update import Partial, Sum, UnusableUpdateError, Update


class _Look:
    """In place of a fold's arithmetic: the bounds of what would be added are all that is kept."""

    sums: dict[str, Sum]

    def accumulate(self, name: str, vector: npt.NDArray[Any], factor: float, top: float) -> None:
        self.sums.setdefault(name, vector)

    def settle(self, name: str) -> None:
        raise UnusableUpdateError(f"The bounds of '{name}' do not tell whether there is room.")


class MeanLook(_Look, MeanFold):
    """Refuses what the ordinary fold does."""


class ExactLook(_Look, ExactFold):
    """Refuses what the exact fold does."""


def surely_fit(look: Fold, values: Iterable[tuple[Update | Partial, float]]) -> bool:
    """Whether a fold takes all of these, each with its scale. False: only folding them tells.

    Args:
        look: an empty one, or one that only looks at them.
        values: the updates.
    """
    try:
        for value, scale in values:
            look.take(value, scale)
    except UnusableUpdateError:
        return False
    return True

"""The difference to the model that children hold."""

from __future__ import annotations

import numpy as np

from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.stages.base import Layout, LinkContext, Named, Stage
from fogline.stages.registry import STAGES


@STAGES.add("delta")
class Delta(Stage):
    """What a model has beside the one that children hold; a code stands after it, and every ``every``-th version goes
    whole.

    The loop is closed: what the sender's state says is what children have, with all that the code lost so far, so what
    is lost of one version is in the difference of the next. (The server's half of STC with partial participation,
    Sattler et al., IEEE TNNLS 2020, arXiv 1903.02891, section V, where children add what they missed.)
    """

    lossy, unbiased = False, True
    every: int = bounded(100, ge=1)

    @property
    def remembers(self) -> bool:
        return True

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        with np.errstate(over="ignore", invalid="ignore"):
            return {name: vector - base(state, name, vector) for name, vector in update.items()}, state

    def receive(self, encoded: Named) -> Named:
        return encoded

    def layout(self, layout: Layout) -> Layout:
        return layout


def base(held: State, name: str, vector: Vector) -> Vector:
    """What a vector is told as a difference to: that of its name and form which is held; zeros, where there is none."""
    before = held.get(name)
    same = before is not None and (before.dtype, before.shape) == (vector.dtype, vector.shape)
    return before if before is not None and same else np.zeros_like(vector)

"""Bounds how far one update moves the model."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import numpy as np

from fogline.parameters import bounded
from fogline.params import State
from fogline.stages.base import Layout, LinkContext, Named, Stage
from fogline.stages.registry import STAGES


@STAGES.add("clip")
class Clip(Stage):
    """Scales the movement of the model down to an L2 norm of at most ``norm``; a smaller one stays as it is.

    Only what moves the model is scaled. The receiver can tell nothing of it: there is nothing to undo.
    """

    single = True
    norm: float = bounded(1.0, gt=0)

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        moved = {name: vector for name, vector in update.items() if fnmatchcase(name, link.movement)}
        # In double precision: the square of a large number is beyond single.
        size = math.sqrt(sum(float(np.square(vector, dtype=np.float64).sum()) for vector in moved.values()))
        if size <= self.norm:
            return update, state
        return update | {name: vector * vector.dtype.type(self.norm / size) for name, vector in moved.items()}, state

    def receive(self, encoded: Named) -> Named:
        return encoded

    def layout(self, layout: Layout) -> Layout:
        return layout

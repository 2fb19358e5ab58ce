"""Bounds how far one update moves the model."""

from __future__ import annotations

from fnmatch import fnmatchcase

from fogline.parameters import bounded
from fogline.params import State
from fogline.privacy.clipping import norm_of, scaled
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
        size = norm_of(moved.values())
        if size <= self.norm:
            return update, state
        return update | {name: scaled(vector, self.norm / size) for name, vector in moved.items()}, state

    def receive(self, encoded: Named) -> Named:
        return encoded

    def error(self, count: int) -> float:
        return 1.0  # All of it, at most.

    def layout(self, layout: Layout) -> Layout:
        return layout

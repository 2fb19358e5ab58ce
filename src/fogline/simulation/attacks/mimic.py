"""Mimic."""

from __future__ import annotations

import numpy as np

from fogline.params import Vector
from fogline.simulation.attacks.base import Collusion
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("mimic")
class Mimic(Collusion):
    """Sends what one honest child sends, so that it counts for many (Karimireddy et al., 2022, arXiv 2006.09365).

    It is the one that stands out most along the direction in which the honest differ most; the paper learns that
    direction in its first rounds and stays with it, here it is that of the round.
    """

    def together(self, view: RoundView) -> Vector:
        gram = view.geometry.gram
        centred = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
        direction = np.linalg.eigh(centred)[1][:, -1]
        vector, scale = view.honest.vectors[int(np.abs(direction).argmax())]
        return vector * vector.dtype.type(scale)

"""A number in one bit, after a random rotation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.stages.registry import STAGES
from fogline.stages.rotated_code import RotatedCode, Rows, squares


@STAGES.add("drive")
class Drive(RotatedCode):
    """One bit a number: signs after a random rotation, with error feedback.

    Each block has the scale of the least error (DRIVE: Vargaftik et al., NeurIPS 2021, arXiv 2105.08339). What comes
    out is too short on average; ``eden(bits=1)`` has the same signs with the scale that is right on average.
    """

    feedback = True

    @property
    def width(self) -> int:
        return 1

    def scales(self, turned: Rows, rounded: Rows) -> npt.NDArray[Any]:
        return np.einsum("ij,ij->i", turned, rounded) / squares(rounded)

    def error(self, count: int) -> float:
        """In the limit of wide blocks."""
        return 1 - 2 / math.pi

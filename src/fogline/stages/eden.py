"""A number in one to four bits, after a random rotation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.parameters import bounded
from fogline.stages.registry import STAGES
from fogline.stages.rotated_code import RotatedCode, Rows, squares

LOST = {1: 0.571, 2: 0.133, 3: 0.0358, 4: 0.0096}
"""By bits, the expected square of the error's norm over the square of the vector's."""


@STAGES.add("eden")
class Eden(RotatedCode):
    """One to four bits a number: centroids of normal numbers after a random rotation.

    Each block has the scale that makes it right on average (EDEN: Vargaftik et al., ICML 2022, arXiv 2108.08842). With
    one bit it is DRIVE with the unbiased scale.
    """

    unbiased = True
    bits: int = bounded(4, ge=1, le=4)

    @property
    def width(self) -> int:
        return self.bits

    def scales(self, turned: Rows, rounded: Rows) -> npt.NDArray[Any]:
        along = np.einsum("ij,ij->i", turned, rounded)
        return squares(turned) / np.where(along == 0, 1, along)

    def error(self, count: int) -> float:
        """In the limit of wide blocks, theorem 2.3 there."""
        return LOST[self.bits]

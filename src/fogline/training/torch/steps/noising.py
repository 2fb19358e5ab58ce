"""DP-SGD's noise on sums of clipped gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from fogline.training.example_privacy import ExampleDraws, ExamplePrivacy

GRID = 2.0**-12
"""Of the noise's size, at most: results are rounded to multiples of that. The last bits of a floating-point number tell
more of what noise was added to than its size does (Mironov 2012), and rounding takes them away."""


class StepNoising:
    """Noise for devices that step together.

    Args:
        privacy: how much.
        draws: of each device.
        expected: examples that a step of each is expected to take.
    """

    def __init__(self, privacy: ExamplePrivacy, draws: Sequence[ExampleDraws], expected: Sequence[float]) -> None:
        self._draws, self._expected, self._size = draws, expected, privacy.noise * privacy.clip
        self._grid = GRID * 2.0 ** math.floor(math.log2(self._size)) if self._size else 0.0

    def __call__(self, sums: Tensor) -> Tensor:
        """Gradients (k, P) of the first k devices, from sums of theirs, which are written over."""
        if self._size:
            here = sums.cpu()
            for numbers, draws in zip(here.numpy(), self._draws, strict=False):
                draws.add_noise(numbers, self._size, self._grid)
            sums = here.to(sums.device)
        for own, expected in zip(sums, self._expected, strict=False):
            own.div_(expected)
        return sums

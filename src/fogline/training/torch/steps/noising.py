"""DP-SGD's noise on sums of clipped gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fogline.training.example_privacy import ExampleDraws, ExamplePrivacy

GRID = 2.0**-12
"""Of the noise's size, at most: results are rounded to multiples of that. The last bits of a floating-point number tell
more of what noise was added to than its size does (Mironov 2012), and rounding takes them away."""


class Noising:
    """Noise for devices that step together.

    Args:
        privacy: how much.
        draws: of each device.
        expected: examples that a step of each is expected to take.
        numbers: P, of a gradient.
        device: where gradients are.
    """

    def __init__(
        self,
        privacy: ExamplePrivacy,
        draws: Sequence[ExampleDraws],
        expected: Sequence[float],
        numbers: int,
        device: torch.device,
    ) -> None:
        self._draws, self._size = draws, privacy.noise * privacy.clip
        self._expected = torch.tensor(expected, device=device).unsqueeze(1)
        self._noise = torch.empty(len(draws), numbers if self._size else 0)
        self._grid = GRID * 2.0 ** math.floor(math.log2(self._size)) if self._size else 0.0

    def __call__(self, sums: Tensor) -> Tensor:
        """Gradients (k, P) of the first k devices, in the memory of the sums."""
        clients = len(sums)
        expected = self._expected[:clients].to(sums.dtype)
        if not self._size:
            return sums.div_(expected)
        noise = self._noise[:clients]
        for row, draws in zip(noise.numpy(), self._draws, strict=False):
            draws.fill(row)
        sums.mul_(1.0 / self._grid).add_(noise.to(sums.device), alpha=self._size / self._grid).round_()
        return sums.mul_(self._grid / expected)

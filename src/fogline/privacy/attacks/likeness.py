"""How alike two pictures are, and which of several is which."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BEST = 100.0
"""Decibels of two that are the same; more means nothing."""
WINDOW = 7


def psnr(one: npt.ArrayLike, other: npt.ArrayLike, span: float) -> float:
    """Peak signal-to-noise ratio in decibels, at most 100.

    Args:
        one: an array.
        other: one of the same shape.
        span: largest minus least number that there may be.
    """
    error = float(np.mean(np.square(np.subtract(one, other, dtype=np.float64))))
    return BEST if error <= 0 else min(BEST, 10 * math.log10(span**2 / error))


def ssim(one: npt.ArrayLike, other: npt.ArrayLike, span: float) -> float:
    """Mean structural similarity (Wang et al., 2004) of two pictures, (channels, height, width); 1: they are the same.

    Over even windows of 7 by 7, or as large as the picture lets them be, with sample variances: the defaults of
    scikit-image.
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    side = min(WINDOW, *a.shape[-2:])
    side -= 1 - side % 2
    windows = [np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(-2, -1)) for x in (a, b)]
    mean_a, mean_b = (window.mean((-2, -1)) for window in windows)
    unbiased = side**2 / max(side**2 - 1, 1)
    spread_a, spread_b = (window.var((-2, -1)) * unbiased for window in windows)
    shared = ((windows[0] * windows[1]).mean((-2, -1)) - mean_a * mean_b) * unbiased
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float((luminance * (2 * shared + c2) / (spread_a + spread_b + c2)).mean())


def errors(ones: npt.ArrayLike, others: npt.ArrayLike) -> Array:
    """(n, m) mean squared errors of each of ``ones`` (n, ...) from each of ``others`` (m, ...)."""
    a, b = (np.asarray(x, np.float64).reshape(len(np.asarray(x)), -1) for x in (ones, others))
    return np.array([np.square(b - row).mean(1) for row in a]).reshape(len(a), len(b))


def paired(error: Array) -> list[tuple[int, int]]:
    """Rows and columns of a matrix of errors, each at most once: the pair with the least error first."""
    left, pairs = error.astype(np.float64), list[tuple[int, int]]()
    for _ in range(min(error.shape)):
        row, column = divmod(int(np.argmin(left)), left.shape[1])
        pairs.append((row, column))
        left[row], left[:, column] = np.inf, np.inf
    return pairs

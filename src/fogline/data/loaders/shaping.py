"""What several loaders share: pixels, windows, scaling and random test sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fogline.data.examples import Array, Examples, Indices

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pixels:
    """Turns uint8 pixels (n, channels, height, width) into float32: to 0..1, minus mean, over deviation.

    ``flat`` gives (n, channels * height * width).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flat: bool = False

    @cached_property
    def _scale_and_shift(self) -> tuple[Floats, Floats]:
        mean = np.array(self.mean, np.float32)[:, None, None]
        std = np.array(self.std, np.float32)[:, None, None]
        return (1 / (255 * std)).astype(np.float32), (mean / std).astype(np.float32)

    def __call__(self, x: Array, client: int = 0) -> Floats:
        scale, shift = self._scale_and_shift
        out = np.multiply(x, scale, dtype=np.float32)
        out -= shift
        return out.reshape(len(out), -1) if self.flat else out


def flatten(x: Array, client: int = 0) -> Array:
    """(n, ...) to (n, features)."""
    return x.reshape(len(x), -1)


def image_test(pixels: Pixels, x: Array, y: Array) -> Examples:
    """A test set of images, ready for use."""
    return Examples(pixels(x), y.astype(np.int64))


def windows(series: Array, length: int) -> Array:
    """Every run of so many rows of (rows, features), as a view (rows - length + 1, features, length)."""
    return np.lib.stride_tricks.sliding_window_view(series, length, axis=0)


def standardised(x: Array, training: Array | slice) -> Floats:
    """Columns (last axis) minus mean over deviation, both taken over the training rows alone."""
    part = x[training].astype(np.float64)
    std = part.std(axis=0)
    return ((x - part.mean(axis=0)) / np.where(std > 0, std, 1.0)).astype(np.float32)


def cyclic(values: Array, period: float) -> Array:
    """(n, 2) sine and cosine of a time that comes round."""
    angle = 2 * np.pi * values / period
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def one_hot(codes: Array, size: int) -> Array:
    """(n, size) with a one at each code."""
    return np.eye(size)[codes]


def random_test(labels: Array, fraction: float = 0.2, seed: int = 0) -> tuple[Indices, Indices]:
    """Rows for training and for test; each class gives its share of test rows."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        test[rng.choice(rows, round(fraction * len(rows)), replace=False)] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def choose(option: str, value: str, known: Sequence[str]) -> str:
    """The value, if it is one of those known; else ValueError."""
    if value not in known:
        raise ValueError(f"{option} must be one of {', '.join(known)}, not '{value}'.")
    return value


def at_least(option: str, value: int, least: int = 1) -> int:
    """The value, if it is large enough; else ValueError."""
    if value < least:
        raise ValueError(f"{option} must be at least {least}, not {value}.")
    return value

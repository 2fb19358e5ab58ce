"""Vibration of a motor's bearings, sound and damaged."""

from __future__ import annotations

import re

import numpy as np

from fogline.data.examples import Array, Examples
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import at_least, flatten
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

CLASSES = ("Normal", "B007", "B014", "B021", "IR007", "IR014", "IR021", "OR007", "OR014", "OR021")
RATE_RATIO = 4
"""The normal record was sampled four times as fast as the others."""


@dataset(
    "cwru",
    "bearing vibration at 12 kHz, windows 1x1024, 10 classes; clients are 4 motor loads",
    source="the Case Western Reserve University Bearing Data Center",
)
def cwru(
    folder: DatasetFolder, *, window: int = 1024, stride: int = 512, test_fraction: float = 0.2, flat: bool = False
) -> RawData:
    """Windows (n, 1, window) of the drive-end sensor, every ``stride`` samples.

    The last part of each record is the test set, so no test window overlaps a training window. The normal
    record, at 48 kHz, is filtered and thinned to 12 kHz; it exists at load 0 only, so only that client has
    normal examples. Source: Smith and Randall, Mech. Syst. Signal Process. 64-65, 2015.
    """
    at_least("window", window)
    at_least("stride", stride)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, not {test_fraction}.")
    train: list[tuple[Array, int, str]] = []
    test: list[tuple[Array, int, str]] = []
    for key, record in sorted(folder.npz("cwru_12k_de.npz").items()):
        kind, load = _parse(key)
        signal = _thinned(record) if kind == 0 else record
        end = round(len(signal) * (1 - test_fraction))
        for part, target in ((signal[:end], train), (signal[end:], test)):
            if len(part) < window:
                raise ValueError(f"window must be at most {len(part)} samples with these parts, not {window}.")
            target.append((_cut(part, window, stride), kind, load))
    x, y, owner = _join(train)
    test_x, test_y, _ = _join(test)
    mean, std = x.mean(dtype=np.float64), x.std(dtype=np.float64)
    x, test_x = ((part - np.float32(mean)) / np.float32(std) for part in (x, test_x))
    if flat:
        x, test_x = flatten(x), flatten(test_x)
    return RawData("cwru", x, y, Meaning(10, CLASSES), test=Examples(test_x, test_y), owner=owner)


def _parse(key: str) -> tuple[int, str]:
    match = re.fullmatch(r"(Normal|(?:B|IR|OR)\d{3})(?:@6)?_(\d)", key)
    if match is None or match[1] not in CLASSES:
        raise ValueError(f"The record '{key}' of data set 'cwru' has an unknown name.")
    return CLASSES.index(match[1]), f"load-{match[2]}hp"


def _thinned(record: Array) -> Array:
    """Every fourth sample after a low-pass filter (a sinc under a Hamming window, 129 taps)."""
    taps = np.sinc(np.arange(-64, 65) / RATE_RATIO) * np.hamming(129)
    return np.convolve(record, taps / taps.sum(), mode="valid")[::RATE_RATIO].astype(np.float32)


def _cut(signal: Array, window: int, stride: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(signal, window)[::stride, None, :]


def _join(parts: list[tuple[Array, int, str]]) -> tuple[Array, Array, Array]:
    counts = [len(cut) for cut, _, _ in parts]
    x = np.concatenate([cut for cut, _, _ in parts])
    y = np.repeat([kind for _, kind, _ in parts], counts).astype(np.int64)
    return x, y, np.repeat([load for _, _, load in parts], counts)

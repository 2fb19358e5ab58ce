"""Which fault a motor's bearing has, from its vibration (CWRU: nine faults of three sizes, and sound bearings).

Natural split: one device per motor load, which changes speed and so every frequency a little. Honest metric: accuracy
at a load that never trains; windows of one record are alike, so a split of one load's windows says nothing.
Sound bearings were recorded at no load only.
"""

import numpy as np
from torch import nn

from fogline import Task, load
from fogline.data import Examples, FederatedData, from_clients

RATE = 12_000
"""Samples a second."""
BANDS = 48
"""Of equal width, from 0 to half the rate."""
SLOW = 500
"""In Hz: damage that is rolled over rings again and again, less often than that."""


def features(x: np.ndarray) -> np.ndarray:
    """Windows (n, 1, 1024) as (n, 93) numbers: energy in 48 bands, where the resonances are; the spectrum of the
    envelope up to 500 Hz, which is how often the damage is rolled over; strength, kurtosis and crest factor."""
    x = x[:, 0] - x[:, 0].mean(1, keepdims=True)
    length = x.shape[1]
    taper = np.hanning(length)
    energy = np.abs(np.fft.rfft(x * taper)) ** 2 / (taper**2).sum()
    edges = np.linspace(1, length // 2, BANDS + 1).astype(int)
    bands = np.log10(np.add.reduceat(energy[:, :-1], edges[:-1], axis=1) + 1e-6)
    rings = 10 * np.abs(np.fft.rfft(envelope(x) * taper))[:, 1 : SLOW * length // RATE + 1] / taper.sum()
    strength = x.std(1)
    kurtosis, crest = (x**4).mean(1) / strength**4, np.abs(x).max(1) / strength
    shape = np.stack([np.log10(strength), kurtosis / 10, crest / 5], axis=1)
    return np.concatenate([bands, rings, shape], axis=1).astype(np.float32)


def envelope(x: np.ndarray) -> np.ndarray:
    """(n, length) magnitude of the analytic signal, over its mean, less 1."""
    spectrum, half = np.fft.fft(x), x.shape[1] // 2
    spectrum[:, 1:half] *= 2
    spectrum[:, half + 1 :] = 0
    size = np.abs(np.fft.ifft(spectrum))
    return size / size.mean(1, keepdims=True) - 1


def motors(held_out: str) -> FederatedData:
    """Features of the windows at every load, and one load that never trains."""
    data = load("cwru")
    seen = {name: Examples(features(data[name].array), data[name].y) for name in data.clients}
    return from_clients("cwru", seen, meaning=data.meaning, held_out=[held_out], test=seen.get(held_out))


def task(held_out: str = "load-3hp") -> Task:
    """Needs the data set ``cwru``."""
    data = motors(held_out)
    inputs = data.at(0).array.shape[1]
    return Task(
        lambda: nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 10)),
        data,
        name="bearings",
    )

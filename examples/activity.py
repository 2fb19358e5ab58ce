"""Activity recognition from a phone's motion sensors (UCI HAR).

Natural split: one device per person, 21 people train. Honest metric: accuracy on the 9 people who never train,
because windows of one person overlap and a random split of windows leaks.
"""

import numpy as np
from torch import nn

from fogline import Task, load
from fogline.data import Examples, FederatedData, from_clients

SENSORS = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
"""Body acceleration, angular rate and total acceleration: x, y, z of each."""
BANDS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 24, 32, 48, 65)
"""Edges of frequency bands, in 1 / 2.56 s."""


def features(x: np.ndarray) -> np.ndarray:
    """Windows (n, 9, 128) as (n, 261) numbers that a phone computes: of every axis and of every sensor's magnitude the
    level, spread, extremes, quartiles, jerk and the energy in 13 bands; of every sensor how its axes go together."""
    sensors = np.stack([x[:, axes] for axes in SENSORS], axis=1)
    series = np.concatenate([x, np.linalg.norm(sensors, axis=2)], axis=1)
    centred = series - series.mean(2, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, axis=2)) ** 2
    energies = np.add.reduceat(spectrum, BANDS[:-1], axis=2)
    quartiles = np.quantile(series, (0.25, 0.5, 0.75), axis=2).transpose(1, 2, 0)
    levels = np.stack([series.mean(2), series.min(2), series.max(2)], axis=2)
    spreads = np.stack([logarithm(series.std(2), 1e-3), logarithm(np.diff(series).std(2), 1e-3)], axis=2)
    numbers = np.concatenate([levels, quartiles, spreads, logarithm(energies, 0.1)], axis=2)
    scaled = sensors - sensors.mean(3, keepdims=True)
    scaled /= sensors.std(3, keepdims=True) + 1e-3
    alike = np.einsum("nsat,nsbt->nsab", scaled, scaled)[:, :, (0, 0, 1), (1, 2, 2)] / x.shape[2]
    return np.concatenate([numbers.reshape(len(x), -1), alike.reshape(len(x), -1)], axis=1).astype(np.float32)


def logarithm(values: np.ndarray, least: float) -> np.ndarray:
    """Of what spans magnitudes, about 0 and as wide as the rest."""
    return np.log(values + least) / 3


def people() -> FederatedData:
    """Features of everybody's windows."""
    data = load("uci_har")
    seen = {name: Examples(features(data[name].array), data[name].y) for name in (*data.clients, *data.held_out)}
    test = data.test and Examples(features(data.test.array), data.test.y)
    return from_clients(data.name, seen, meaning=data.meaning, held_out=data.held_out, test=test)


def model() -> nn.Module:
    """A hidden layer on 261 features, with dropout: 21 people are few."""
    return nn.Sequential(
        *(nn.LayerNorm(261), nn.Dropout(0.2), nn.Linear(261, 64), nn.ReLU()),
        *(nn.Dropout(0.3), nn.Linear(64, 6)),
    )


def task() -> Task:
    """Needs the data set ``uci_har``."""
    return Task(model, people(), name="activity")

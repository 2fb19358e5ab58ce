"""Remaining useful life of turbofan engines (NASA C-MAPSS, FD001 and FD003).

Natural split: one device per engine, one fog per fleet. Honest metric: the root mean squared error on the official
test engines, which never train, one window each, taken at the point where their record was cut off. Targets are
cycles left, at most 125 (a healthy engine does not show how many more it has), and so is the error; the loss is that
of targets divided by 125.
"""

from dataclasses import replace

import numpy as np
from torch import nn

from fogline import Task
from fogline.data import Examples, load_raw
from fogline.training.torch.models import mlp

SENSORS, WINDOW = 14, 30
FLEETS = ("FD001", "FD003")


def statistics(x: np.ndarray) -> np.ndarray:
    """Windows (n, 14, 30) as (n, 56): of each sensor its mean, and how it moves towards the end of the window.

    Noise of one cycle is as large as the wear of many, so means tell more than readings. The three movements are the
    slope of a straight line, and the means of the last 15 and the last 5 cycles above that of all; factors bring them
    to the size of the mean, so that plain gradient steps learn all four at the same speed.
    """
    place = np.arange(WINDOW) - (WINDOW - 1) / 2
    mean, slope = x.mean(axis=2), (x @ place) / (place @ place)
    late, last = x[:, :, -15:].mean(axis=2) - mean, x[:, :, -5:].mean(axis=2) - mean
    return np.concatenate([mean, 50 * slope, 6 * late, 3 * last], axis=1).astype(np.float32)


def model() -> nn.Module:
    """A small network on moving statistics of 14 sensors."""
    return mlp(4 * SENSORS, (64, 32), 1)


def task(fleet: str = "") -> Task:
    """Needs the data set ``cmapss``. With a ``fleet``, its 100 test engines alone judge."""
    raw = load_raw("cmapss", window=WINDOW)
    assert raw.test is not None
    test = Examples(statistics(raw.test.array), raw.test.y)
    if fleet:
        half = test.count // 2
        test = test.part(slice(half) if fleet == FLEETS[0] else slice(half, None))
    data = replace(raw, x=statistics(raw.x), test=test).split()
    return Task(model, data, loss="mse", name="turbofan")

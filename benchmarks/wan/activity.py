"""The job of the WAN benchmark: activity recognition, a device for each of the 30 people of UCI HAR.

The last fifth of each person's windows, in their order, is the test set: windows overlap, so a random fifth would leak.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from fogline import Task, load
from fogline.data import Examples, from_clients

KEPT = 0.8


def model() -> nn.Module:
    """Two convolutions over time on 9 channels of 128 samples; 18,118 numbers."""
    return nn.Sequential(
        nn.Conv1d(9, 16, 5, stride=2),
        nn.ReLU(),
        nn.Conv1d(16, 32, 5, stride=2),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Flatten(),
        nn.Linear(32 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 6),
    )


def task() -> Task:
    """Needs the data set ``uci_har``."""
    data = load("uci_har")
    people = {name: data[name] for name in sorted([*data.clients, *data.held_out])}
    cut = {name: int(KEPT * len(one.y)) for name, one in people.items()}
    train = {f"dev-{i:02d}": Examples(one.x[: cut[n]], one.y[: cut[n]]) for i, (n, one) in enumerate(people.items())}
    test = Examples(
        np.concatenate([one.x[cut[n] :] for n, one in people.items()]),
        np.concatenate([one.y[cut[n] :] for n, one in people.items()]),
    )
    return Task(model, from_clients("uci_har", train, classes=6, test=test), name="activity")

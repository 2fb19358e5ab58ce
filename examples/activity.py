"""Activity recognition from a phone's motion sensors (UCI HAR).

Natural split: one device per person, 21 people train. Honest metric: accuracy on the 9 people who never train,
because windows of one person overlap and a random split of windows leaks.
"""

from torch import nn

from fogline import Task, load


def model() -> nn.Module:
    """Two convolutions over time on 9 channels of 128 samples."""
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
    return Task(model, load("uci_har"), name="activity")

"""The next character in Shakespeare's plays.

Natural split: one device per role (98), whose speeches differ in length and style. Honest metric: accuracy on the last
fifth of every role's text, at every character; always saying "space" is the guess to beat:
``python examples/text.py`` prints it.
"""

import numpy as np
from torch import nn

from fogline import Task, load
from fogline.training.torch.models import char_lstm


def model() -> nn.Module:
    """One LSTM layer over 65 characters."""
    return char_lstm(vocabulary=65, embedding=8, hidden=128)


def task() -> Task:
    """Needs the data set ``shakespeare``."""
    return Task(model, load("shakespeare"), name="text")


def most_frequent() -> float:
    """Accuracy of always saying the most frequent character."""
    test = load("shakespeare").test
    assert test is not None
    return float(np.bincount(test.y.ravel()).max() / test.y.size)


if __name__ == "__main__":
    print(f"accuracy of the most frequent character: {most_frequent():.4f}")

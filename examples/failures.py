"""Failures of machines, by what their sensors read (AI4I 2020; its author made the data by a model of a mill).

Natural split: one device per quality of product, L, M and H, as lines of a factory that each make one; they hold 60, 30
and 10 % of the rows. Honest metric: balanced accuracy (the mean of failures found and of sound states let pass) on a
fifth of the rows that never trains, because 97 % of the rows do not fail and plain accuracy rewards saying so.
"""

import torch
from balanced import BalancedTask
from torch import nn

from fogline import Task, load
from fogline.training.torch.models import mlp

FEATURES = 11
WEIGHTS = (1.0, 28.0)
"""Of a sound state and of a failure: there are 28 times as many of the one as of the other."""


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in which both classes count the same."""
    return nn.functional.cross_entropy(outputs, targets, weight=torch.tensor(WEIGHTS))


def model() -> nn.Module:
    """A small network on five readings, three quantities made of them, and the quality."""
    return mlp(FEATURES, (32, 16), 2)


def task() -> Task:
    """Needs the data set ``ai4i2020``."""
    data = load("ai4i2020", derived=True)
    return BalancedTask(model, data, loss, name="failures", headline="balanced_accuracy")

"""Whether the next bill of a credit card is not paid (Taiwan, 2005).

Three banks with the rows that the FATE project gives each of three parties. Honest metric: balanced accuracy (the mean
of defaults found and of payers let pass) on 6,000 cards that never train, because 78 % pay and plain accuracy rewards
saying so.
"""

import torch
from balanced import BalancedTask
from torch import nn

from fogline import Task, load
from fogline.training.torch.models import mlp

WEIGHTS = (1.0, 3.5)
"""Of a payer and of a default: there are 3.5 times as many of the one as of the other."""


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in which both classes count the same."""
    return nn.functional.cross_entropy(outputs, targets, weight=torch.tensor(WEIGHTS))


def model() -> nn.Module:
    """A small network on 23 features of a card's holder and bills."""
    return mlp(23, (32,), 2)


def task() -> Task:
    """Needs the data set ``fate_examples``."""
    data = load("fate_examples", table="default_credit")
    return BalancedTask(model, data, loss, name="credit", headline="balanced_accuracy")

"""Remaining useful life of turbofan engines (NASA C-MAPSS, FD001 and FD003).

Natural split: one device per engine, one fog per fleet. Honest metric: the root mean squared error on engines that
never train, one window each, taken at the point where their record was cut off. Targets are cycles left, at most
125, and so is the error; the loss is that of targets divided by 125.
"""

from torch import nn

from fogline import Task, load
from fogline.training.torch.models import mlp


def model() -> nn.Module:
    """A small network on the last 30 cycles of 14 sensors."""
    return mlp(14 * 30, (64, 32), 1)


def task() -> Task:
    """Needs the data set ``cmapss``."""
    return Task(model, load("cmapss"), loss="mse", name="turbofan")

"""The work of a hand-made round, and what every loop by hand is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fogline.training.torch import TorchTask

Round = Callable[[Tensor, int], Tensor]
"""(model (P,), seed) to the mean of the devices' models (P,)."""


def orders(seed: int, clients: int, examples: int) -> Tensor:
    """(clients, examples): in which order every device takes its examples."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(clients, examples, generator=generator).argsort(1)


class Work:
    """The job of a round: examples of all devices (C, n, ...), size of a batch, learning rate."""

    def __init__(self, task: TorchTask, batch: int, rate: float) -> None:
        examples = [task.data.at(i) for i in range(len(task.data.clients))]
        self.task, self.batch, self.rate = task, batch, rate
        self.x = torch.stack([task.inputs(one.x) for one in examples])
        self.y = torch.stack([task.targets(one.y) for one in examples])
        self.clients, self.examples = self.x.shape[:2]

    def module(self) -> nn.Module:
        """A module of one's own."""
        return self.task.untrained().train()


class Loop(ABC):
    """Trains some of the devices, and adds up where they end."""

    def __init__(self, work: Work, clients: Sequence[int]) -> None:
        self.work = work
        self.clients = clients

    @abstractmethod
    def train(self, start: Tensor, order: Tensor, total: Tensor) -> None:
        """From ``start`` (P,), in ``order`` (C, n); adds the ends to ``total`` (P,)."""


Making = Callable[[Work, Sequence[int]], Loop]

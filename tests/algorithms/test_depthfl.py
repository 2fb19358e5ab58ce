"""DepthFL's ramp-up, by hand."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fogline import Task, simulate
from fogline.algorithms.methods.depthfl import DepthFL
from fogline.data import from_clients
from fogline.params import Vector

RATE, BETA, RAMP_UP = 0.5, 0.7, 3
X, Y = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32), np.arange(8) % 3
DATA = from_clients("one", {"one": (X, Y)}, classes=3)


class Heads(nn.Module):
    """An output behind each of three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.heads = nn.ModuleList([nn.Linear(4, 3) for _ in range(3)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        given = list[Tensor]()
        for body, head in zip(self.bodies, self.heads, strict=True):
            x = body(x).tanh()
            given.append(head(x))
        return tuple(given)


TASK = Task(Heads, DATA)


def by_hand(rounds: int) -> Vector:
    """A step of each round, with the whole batch."""
    module, start = TASK.untrained(), TASK.initial(0)
    TASK.layout.load(module, start.vector, start.counters)
    optimizer = torch.optim.SGD(module.parameters(), RATE)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    for done in range(rounds):
        outputs = module(x)
        weight = BETA * exp(-5.0 * (1.0 - min(done, RAMP_UP) / RAMP_UP) ** 2)
        loss = torch.stack([cross_entropy(own, y) for own in outputs]).sum()
        for i, own in enumerate(outputs):
            for j, other in enumerate(outputs):
                if i != j:
                    told = log_softmax(other.detach(), 1)
                    loss = loss + weight / 2 * kl_div(log_softmax(own, 1), told, reduction="batchmean", log_target=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return TASK.layout.read(module).vector


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_what_heads_teach_each_other_weighs_more_from_round_to_round(engine: str) -> None:
    method = DepthFL(beta=BETA, ramp_up=RAMP_UP)
    local = {"learning_rate": RATE, "steps": 1, "batch_size": None}
    done = simulate(TASK, method, rounds=5, local=local, engine=engine, processes=0, progress=False).params.vector
    assert done == pytest.approx(by_hand(5), abs=2e-6)
    at_once = DepthFL(beta=BETA, ramp_up=0)
    other = simulate(TASK, at_once, rounds=5, local=local, engine=engine, processes=0, progress=False).params.vector
    assert np.abs(other - done).max() > 1e-3


def test_it_rises_to_beta_over_300_rounds() -> None:
    method = DepthFL()
    rising = [method.beta_in(round) for round in range(0, 400, 50)]
    assert rising[0] == pytest.approx(exp(-5))
    assert rising[:7] == sorted(set(rising))
    assert rising[6:] == [1.0, 1.0]
    assert DepthFL(ramp_up=0, beta=0.5).beta_in(0) == 0.5

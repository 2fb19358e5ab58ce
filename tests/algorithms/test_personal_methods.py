"""Methods that give each device a model of its own: against their formulas in plain PyTorch, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import fogline
from fogline import Result, Tier, Tree
from fogline.algorithms import make
from fogline.algorithms.base import Algorithm
from fogline.data import Examples, from_clients

STEPS, RATE, ROUNDS, CLASSES = 3, 0.2, 3, 3
SIZES = (9, 6, 12, 5)
TREE = Tree(cloud=Tier(), fog=Tier(count=2))


class Net(nn.Module):
    """A body and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 3), nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x)))


BODY = 4 * 3 + 3


def examples(client: int, count: int) -> Examples:
    """Of few classes, which differ."""
    rng = np.random.default_rng((client, count))
    y = (client + rng.integers(2, size=count)) % CLASSES
    return Examples((rng.normal(size=(count, 4)) + y[:, None]).astype(np.float32), y)


def task(new: bool = False) -> fogline.Task:
    train = {f"c{i}": examples(i, size) for i, size in enumerate(SIZES)}
    test = {name: examples(i, 20) for i, name in enumerate(train)}
    train |= {"new": examples(7, 20)} if new else {}
    data = from_clients("few", train, test=test, classes=CLASSES, held_out=["new"] if new else [])
    return fogline.Task(Net, data)


def simulate(method: Algorithm, engine: str = "loop", new: bool = False, **more: Any) -> Result:
    settings = {"rounds": ROUNDS, "processes": 0, "progress": False, "chunk": 4, "engine": engine} | more
    local = {"batch_size": None, "steps": STEPS, "learning_rate": RATE}
    return fogline.simulate(task(new), method, local=local, evaluation={"where": "devices"}, **settings)


@dataclass
class ByHand:
    """A few devices in plain PyTorch: full gradients, one vector a model."""

    module: nn.Module = field(default_factory=Net)
    weights: Tensor = field(default_factory=lambda: torch.from_numpy(task().initial(0).vector.copy()))

    def loss(self, w: Tensor, on: Examples, prior: Tensor | float = 0.0) -> Tensor:
        shapes = [p.shape for p in self.module.parameters()]
        names = [name for name, _ in self.module.named_parameters()]
        parts = [part.view(s) for part, s in zip(w.split([s.numel() for s in shapes]), shapes, strict=True)]
        outputs = functional_call(self.module, dict(zip(names, parts, strict=True)), (torch.from_numpy(on.array),))
        return nn.functional.cross_entropy(outputs + prior, torch.from_numpy(on.y))

    def descend(
        self,
        w: Tensor,
        client: int,
        steps: int = STEPS,
        pull: Callable[[Tensor], Tensor] = torch.zeros_like,
        only: slice = slice(None),
        prior: Tensor | float = 0.0,
    ) -> Tensor:
        for _ in range(steps):
            leaf = w.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(leaf, examples(client, SIZES[client]), prior), leaf)
            w = w.clone()
            w[only] -= RATE * (gradient + pull(w))[only]
        return w

    def mean(self, ends: list[Tensor], shares: tuple[int, ...] = SIZES) -> Tensor:
        weights = torch.tensor(shares) / sum(shares)
        return torch.stack([share * end for share, end in zip(weights, ends, strict=True)]).sum(0)

    def judged(self, models: list[Tensor]) -> float:
        return float(np.mean([self.loss(w, examples(i, 20)).item() for i, w in enumerate(models)]))


DEVICES = range(len(SIZES))
HEAD, SHARED = slice(BODY, None), slice(None, BODY)


def ditto(hand: ByHand) -> list[Tensor]:
    x, own = hand.weights, [hand.weights for _ in DEVICES]
    for _ in range(ROUNDS):
        own = [hand.descend(own[i], i, pull=lambda v, x=x: 0.7 * (v - x)) for i in DEVICES]
        x = hand.mean([hand.descend(x, i) for i in DEVICES])
    hand.weights = x
    return own


def pfedme(hand: ByHand) -> list[Tensor]:
    x, own = hand.weights, list[Tensor]()
    for _ in range(ROUNDS):
        ends, own = list[Tensor](), list[Tensor]()
        for i in DEVICES:
            w = theta = x
            for _ in range(STEPS):
                theta = hand.descend(w, i, 4, lambda v, w=w: 2.0 * (v - w))
                w = w - 0.1 * 2.0 * (w - theta)
            ends.append(w)
            own.append(theta)
        x = 0.5 * x + 0.5 * hand.mean(ends, (1, 1, 1, 1))
    hand.weights = x
    return own


def fedrep(hand: ByHand) -> list[Tensor]:
    own = [hand.weights for _ in DEVICES]
    for _ in range(ROUNDS):
        own = [hand.descend(hand.descend(w, i, only=HEAD), i, 2, only=SHARED) for i, w in enumerate(own)]
        body = hand.mean(own)[SHARED]
        own = [torch.cat([body, w[HEAD]]) for w in own]
    hand.weights = own[0][SHARED]
    return own


def lgfedavg(hand: ByHand) -> list[Tensor]:
    own = [hand.weights for _ in DEVICES]
    for _ in range(ROUNDS):
        own = [hand.descend(w, i) for i, w in enumerate(own)]
        head = hand.mean(own)[HEAD]
        own = [torch.cat([w[SHARED], head]) for w in own]
    hand.weights = own[0][HEAD]
    return own


def fedbabu(hand: ByHand) -> list[Tensor]:
    x = hand.weights
    for _ in range(ROUNDS):
        x = hand.mean([hand.descend(x, i, only=SHARED) for i in DEVICES])
    hand.weights = x[SHARED]
    return [hand.descend(x, i, 5) for i in DEVICES]  # An epoch of one batch is a step.


def fedrod(hand: ByHand) -> list[Tensor]:
    x, personal = hand.weights, [torch.zeros_like(hand.weights[HEAD]) for _ in DEVICES]

    def whole(i: int) -> Tensor:
        return torch.cat([x[SHARED], x[HEAD] + personal[i]])

    for _ in range(ROUNDS):
        personal = [hand.descend(whole(i), i, only=HEAD)[HEAD] - x[HEAD] for i in DEVICES]
        counts = [np.bincount(examples(i, SIZES[i]).y, minlength=CLASSES) for i in DEVICES]
        prior = [torch.tensor(np.log(np.maximum(n, 1e-8)), dtype=torch.float32) for n in counts]
        x = hand.mean([hand.descend(x, i, prior=prior[i]) for i in DEVICES])
    hand.weights = x
    return [whole(i) for i in DEVICES]


FORMULAS: dict[str, tuple[dict[str, Any], Callable[[ByHand], list[Tensor]]]] = {
    "ditto": ({"lam": 0.7}, ditto),
    "pfedme": ({"lam": 2.0, "inner_steps": 4, "rate": 0.1, "beta": 0.5}, pfedme),
    "fedrep": ({"body_epochs": 2}, fedrep),
    "lgfedavg": ({}, lgfedavg),
    "fedbabu": ({}, fedbabu),
    "fedrod": ({}, fedrod),
}


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
@pytest.mark.parametrize("name", FORMULAS)
def test_the_common_model_and_the_devices_own_are_what_the_formulas_give(name: str, engine: str) -> None:
    (parameters, formula), hand = FORMULAS[name], ByHand()
    judged = hand.judged(formula(hand))
    result = simulate(make(name, **parameters), engine, tree=TREE if engine == "flat" else None)
    np.testing.assert_allclose(result.params.vector, hand.weights, rtol=2e-4, atol=2e-6)
    assert result.metrics["loss"] == pytest.approx(judged, rel=1e-4)

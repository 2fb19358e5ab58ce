"""Examples found by search: such that local training on them would have moved the model as it was seen to move."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fogline.audit.findings import NotApplicableError
from fogline.data import Examples
from fogline.jobs.planning import LocalPlan
from fogline.params import Params
from fogline.training.shuffling import cuts
from fogline.training.task import Task
from fogline.training.torch.task import TorchTask

MOST_STEPS = 8
"""Local steps that are followed one by one; more are taken for one long step."""


class Replay:
    """A device's local training as the adversary can compute it, differentiable in the examples.

    Args:
        task: a PyTorch model with one input and one output.
        params: the model that went down.
        plan: what the device was told to do.
        examples: how many the adversary looks for.
        all_of_one: whether these are all that one device has, so that its steps can be followed one by one.

    Raises:
        NotApplicableError: the model is not of that kind.
    """

    def __init__(self, task: Task, params: Params, plan: LocalPlan, examples: int, all_of_one: bool) -> None:
        if not isinstance(task, TorchTask):
            raise NotApplicableError("the model is none of PyTorch, and the attack differentiates one")
        if task.gives_several or task.takes_several:
            raise NotApplicableError("the model takes or gives several things, and the attack knows one of each")
        self.task, self.device = task, task.device
        self._module = task.untrained().train()
        for part in self._module.modules():
            if isinstance(part, nn.modules.dropout._DropoutNd):  # pyright: ignore[reportPrivateUsage]
                part.eval()  # What it leaves out, nobody knows.
        task.layout.load(self._module, params.vector, params.counters)
        named = dict(self._module.named_parameters())
        self._weights: dict[str, Tensor] = {entry.name: named[entry.name] for entry in task.layout.trainable}
        ends = cuts(examples, plan.batch_size, 1)
        follow = all_of_one and plan.steps <= MOST_STEPS
        self._rate = plan.learning_rate * (1 if follow else plan.steps)
        batches = [slice(start, stop) for start, stop in pairwise([0, *ends])]
        self._steps = [batches[i % len(batches)] for i in range(plan.steps)] if follow else [slice(None)]

    def movement(self, x: Tensor, y: Tensor) -> Tensor:
        """(P,) how far training on these examples moves the model."""
        weights = self._weights
        for rows in self._steps:
            outputs = functional_call(self._module, weights, (x[rows],))
            loss = self.task.loss_function(outputs, y[rows])
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {name: w - self._rate * slope for (name, w), slope in zip(weights.items(), slopes, strict=True)}
        return torch.cat([(weights[name] - start).reshape(-1) for name, start in self._weights.items()])


def by_distance(replay: Replay, seen: Tensor, x: Tensor, y: Tensor, iterations: int) -> Tensor:
    """Deep leakage from gradients (Zhu et al., NeurIPS 2019): the least squared distance, by L-BFGS.

    Args:
        replay: of the device's training.
        seen: (P,) the movement.
        x: (n, ...) where the search begins.
        y: (n,) labels.
        iterations: at most so many.
    """
    x = x.clone().requires_grad_()
    scale = 1 / seen.square().sum().clamp_min(1e-30)
    search = torch.optim.LBFGS([x], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe")

    def misfit() -> Tensor:
        search.zero_grad()
        error = (replay.movement(x, y) - seen).square().sum() * scale
        error.backward(inputs=[x])
        return error

    search.step(misfit)
    return x.detach()


def by_angle(
    replay: Replay, seen: Tensor, x: Tensor, y: Tensor, iterations: int, bounds: tuple[float, float], smooth: float
) -> Tensor:
    """Inverting gradients (Geiping et al., NeurIPS 2020): the least angle, with total variation as a prior, by Adam on
    the signs of the gradient.

    Args:
        replay: of the device's training.
        seen: (P,) the movement.
        x: (n, ...) where the search begins.
        y: (n,) labels.
        iterations: so many.
        bounds: of the numbers of an input.
        smooth: weight of the total variation of pictures (n, channels, height, width).
    """
    low, high = bounds
    x = x.clone().requires_grad_()
    search = torch.optim.Adam([x], lr=0.05 * (high - low))
    rates = torch.optim.lr_scheduler.MultiStepLR(search, [iterations * part // 8 for part in (3, 5, 7)], gamma=0.1)
    for _ in range(iterations):
        search.zero_grad()
        error = 1 - torch.cosine_similarity(replay.movement(x, y), seen, dim=0)
        if x.ndim == 4:
            error = error + smooth / (high - low) * _variation(x)
        error.backward(inputs=[x])
        assert x.grad is not None
        x.grad.sign_()
        search.step()
        rates.step()
        with torch.no_grad():
            x.clamp_(low, high)
    return x.detach()


def _variation(x: Tensor) -> Tensor:
    return (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()


def softmax_of(task: Task, params: Params, examples: Examples) -> npt.NDArray[Any] | None:
    """(n, classes) what a model finds likely; None where it does not give one output for each class."""
    if not isinstance(task, TorchTask) or task.gives_several or task.loss == "model":
        return None
    module = task.untrained().eval()
    task.layout.load(module, params.vector, params.counters)
    with torch.inference_mode():
        outputs = task.forward(module, task.arguments(examples.x))
    if outputs.ndim != 2 or outputs.shape[1] != task.data.classes:
        return None
    return outputs.softmax(1).cpu().numpy().astype(np.float64)

"""The reference engine: one module, autograd and ``torch.optim``, one device after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fogline.data.inputs import rows
from fogline.params import Vector
from fogline.randomness import seeded
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import Arrays, LocalMethod
from fogline.training.shuffling import batches
from fogline.training.torch.engines.base import TorchEngine
from fogline.training.torch.failure import attempt, failed, results, too_few
from fogline.training.torch.layout import as_tensor
from fogline.training.torch.steps.features import Features
from fogline.training.torch.task import ENGINES, Arguments, TorchTask


@ENGINES.add("loop", "The reference: a plain module, autograd and torch.optim, one device after the other.")
class LoopEngine(TorchEngine):
    """Trains as a textbook does. Slow, and what the others are tested against."""

    def __init__(self, task: TorchTask, method: LocalMethod, local: LocalTraining) -> None:
        super().__init__(task, method, local)
        self._keeps = task.keeps
        self._take(task.untrained().train())

    def _take(self, module: nn.Module) -> None:
        tensors = dict(module.named_parameters())
        self._module = module
        self._parameters = [tensors[entry.name] for entry in self.task.layout.trainable]
        self._features = Features(module) if self.adjusts_loss else None

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        """Train one device after the other."""
        return [self._train_safely(job) for job in jobs]

    def _train_safely(self, job: ClientJob) -> LocalResult:
        with seeded(job.seed):
            result = attempt(lambda: self._train(job))
        if isinstance(result, Exception):
            return failed(self.task, job, result, 0)
        return result

    def _train(self, job: ClientJob) -> LocalResult:
        examples, size = self.task.data.passes(job.client, job.seed, self.local.passes(job.steps))
        x, y = self.task.arguments(examples.x), self.task.targets(examples.y)
        _, wrong = self.task.wrong_targets(y)
        weight = self.task.weight(y) * size // max(len(y), 1)
        wrong = too_few(size, self.local) or wrong or (None if weight else "none of its targets has a truth")
        if wrong:
            return failed(self.task, job, wrong, size)
        if self._keeps:
            self._take(self.task.untrained().train())
        self.task.layout.load(self._module, job.start, job.counters)
        device = _Device(self, job, _optimizer(self._parameters, self.local, job.learning_rate))
        losses = np.zeros((job.steps, 1))
        smallest, stride = self.local.smallest_batch, size if len(y) > size else 0
        for step, batch in enumerate(batches(job.seed, size, self.local.batch_size, job.steps, smallest, stride)):
            places = torch.from_numpy(batch).to(self.task.device)
            losses[step, 0] = device.step(rows(x, places), y[places])
            if not np.isfinite(losses[step, 0]):
                break
        done = self.task.layout.read(self._module)
        ends, counters = torch.from_numpy(done.vector[None]), torch.from_numpy(done.counters[None])
        return results(self.task, [job], ends, counters, [weight], torch.from_numpy(losses))[0]

    def objective(self, x: Arguments, y: Tensor, job: _Device) -> tuple[Tensor, float]:
        """The loss that is differentiated, and the loss that is reported."""
        outputs = self.task.forward(self._module, x, y)
        features = self._features.taken() if self._features else None
        if self.adjusts_outputs:
            outputs = self.task.classes_last(outputs)
            outputs = self.task.classes_back(self.method.adjust_outputs(outputs, job.local))
        loss = self.task.loss_function(outputs, y)
        if self._features is None:
            return loss, loss.item()
        adjusted = self.method.adjust_loss(loss, features, self._features_of(x), job.start, job.local)
        return adjusted, loss.item()

    def _features_of(self, x: Arguments) -> Callable[[Tensor], Tensor]:
        assert self._features is not None
        features = self._features
        entries, slices = self.task.layout.trainable, self.task.spec.slices
        return lambda weights: features.under(
            {e.name: weights[slices[e.name]].view(e.shape).to(self.task.dtype) for e in entries}, x
        )

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters, in the order of the vector."""
        return self._parameters


class _Device:
    """One device's training under way."""

    def __init__(self, engine: LoopEngine, job: ClientJob, optimizer: torch.optim.Optimizer) -> None:
        device, head = engine.task.device, engine.task.spec.trainable
        self._engine = engine
        self._optimizer = optimizer
        self.start = as_tensor(job.start[:head], device)
        self.local: Arrays = {name: as_tensor(vector, device) for name, vector in job.local.items()}
        self.received: Arrays = {name: as_tensor(vector, device) for name, vector in job.received.items()}

    def step(self, x: Arguments, y: Tensor) -> float:
        engine, parameters = self._engine, self._engine.parameters
        loss = self._differentiate(x, y)
        if engine.perturbs:
            weights = flatten(parameters, self.start.dtype)
            spread(engine.method.perturb(weights, self._gradient()), parameters)
            self._differentiate(x, y)
            spread(weights, parameters)
        if engine.local.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, engine.local.clip_norm)
        if engine.adjusts_gradient:
            weights = flatten(parameters, self.start.dtype)
            adjusted = engine.method.adjust_gradient(self._gradient(), weights, self.start, self.local, self.received)
            spread(adjusted, [p.grad for p in parameters if p.grad is not None])
        self._optimizer.step()
        return loss

    def _differentiate(self, x: Arguments, y: Tensor) -> float:
        for parameter in self._engine.parameters:
            parameter.grad = torch.zeros_like(parameter)
        objective, loss = self._engine.objective(x, y, self)
        objective.backward()
        return loss

    def _gradient(self) -> Tensor:
        return flatten([p.grad for p in self._engine.parameters if p.grad is not None], self.start.dtype)


def flatten(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Tensors one after the other, as one vector of a type."""
    return torch.cat([tensor.detach().reshape(-1).to(dtype) for tensor in tensors])


def spread(vector: Tensor | Vector, tensors: Sequence[Tensor]) -> None:
    """The inverse of :func:`flatten`, into tensors that exist."""
    offset = 0
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(torch.as_tensor(vector)[offset : offset + tensor.numel()].view_as(tensor))
            offset += tensor.numel()


def _optimizer(parameters: list[nn.Parameter], local: LocalTraining, rate: float) -> torch.optim.Optimizer:
    if local.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, rate, local.momentum, weight_decay=local.weight_decay, nesterov=local.nesterov
        )
    kind = torch.optim.Adam if local.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, rate, weight_decay=local.weight_decay)

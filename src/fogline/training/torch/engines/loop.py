"""The reference engine: one module, autograd and ``torch.optim``, one device after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from fogline.data.inputs import rows
from fogline.params import Vector
from fogline.randomness import derived, seeded
from fogline.training.context import STEPS, Draws, LocalBatch
from fogline.training.example_privacy import ExampleDraws, expected_batch
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import Arrays, LocalMethod, overrides
from fogline.training.shuffling import batches
from fogline.training.torch.engines.base import TorchEngine
from fogline.training.torch.failure import attempt, failed, results, too_few
from fogline.training.torch.features import Features
from fogline.training.torch.layout import CPU, as_tensor
from fogline.training.torch.module_device import ModuleDevice
from fogline.training.torch.outputs.answers import answer_of, several_of
from fogline.training.torch.steps.clipping import clip_factors
from fogline.training.torch.steps.elsewhere import DeviceElsewhere, Elsewhere
from fogline.training.torch.steps.noising import StepNoising
from fogline.training.torch.steps.step_device import StepDevice
from fogline.training.torch.sub_models.nested import nested_models
from fogline.training.torch.task import ENGINES, Arguments, TorchTask


@ENGINES.add("loop", "The reference: a plain module, autograd and torch.optim, one device after the other.")
class LoopEngine(TorchEngine):
    """Trains as a textbook does. Slow, and what the others are tested against."""

    def __init__(self, task: TorchTask, method: LocalMethod, local: LocalTraining) -> None:
        super().__init__(task, method, local)
        self._keeps = task.keeps
        self._trains_itself = overrides(method, "local_round")
        self._take(task.untrained().train())

    def _take(self, module: nn.Module) -> None:
        tensors = dict(module.named_parameters())
        self._module = module
        self._parameters = [tensors[entry.name] for entry in self.task.layout.trainable]
        self._features = Features(module) if self.sees else None
        self._nested = nested_models(self.task) if self.nests else []

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
        x, y, size = self._examples(job)
        _, wrong = self.task.wrong_targets(y)
        weight = self.task.weight(y) * size // max(len(y), 1)
        wrong = too_few(size, self.local) or wrong or (None if weight else "none of its targets has a truth")
        if wrong:
            return failed(self.task, job, wrong, size)
        if self._trains_itself:
            return self.method.local_round(ModuleDevice(self.task, job, partial(self._pass, job), weight))
        if self._keeps or (self.nests and self.task.layout.buffers):  # Those of smaller models are a device's own.
            self._take(self.task.untrained().train())
        self.task.layout.load(self._module, job.start, job.counters)
        draws = None if self.local.privacy is None else ExampleDraws(job.seed, job.secret)
        optimizer = _optimizer(self._moving(job), self.local, job.learning_rate)
        device = _Device(self, job, optimizer) if draws is None else _PrivateDevice(self, job, optimizer, draws, size)
        losses = np.zeros((job.steps, 1))
        for step, (own, targets) in enumerate(self._batches(job, x, y, size, draws)):
            losses[step, 0] = device.step(own, targets)
            if not np.isfinite(losses[step, 0]):
                break
        done = self.task.layout.read(self._module)
        ends, counters = torch.from_numpy(done.vector[None]), torch.from_numpy(done.counters[None])
        return results(self.task, [job], ends, counters, [weight], torch.from_numpy(losses))[0]

    def _moving(self, job: ClientJob) -> list[nn.Parameter]:
        """The parameters that train."""
        pairs = zip(self.task.layout.trainable, self._parameters, strict=True)
        return [parameter for entry, parameter in pairs if job.only is None or entry.name in job.only]

    def _examples(self, job: ClientJob) -> tuple[Arguments, Tensor, int]:
        """Inputs and targets of a device's passes, and how many examples are in one."""
        passes = self.local.passes(job.steps, job.batch_size)
        examples, size = self.task.data.passes(job.client, job.seed, passes)
        return self.task.arguments(examples.x), self.task.targets(examples.y), size

    def _pass(self, job: ClientJob, place: int, steps: int) -> Iterator[tuple[Arguments, Tensor]]:
        """Inputs and targets of so many steps. The first of several is as a device's steps always are."""
        own = replace(job, steps=steps, seed=derived(job.seed, place) if place else job.seed)
        return self._batches(own, *self._examples(own))

    def _batches(
        self, job: ClientJob, x: Arguments, y: Tensor, size: int, draws: ExampleDraws | None = None
    ) -> Iterator[tuple[Arguments, Tensor]]:
        """Inputs and targets of each step; ``size``: of one pass over the device's examples."""
        local, stride = self.local, size if len(y) > size else 0
        width = job.batch_size or local.batch_size
        if draws is None:
            order = batches(job.seed, size, width, job.steps, local.smallest_batch, stride)
        else:
            order = draws.samples(size, width, job.steps, stride)
        for batch in order:
            places = torch.from_numpy(batch).to(self.task.device)
            yield rows(x, places), y[places]

    def objective(self, x: Arguments, y: Tensor, device: _Device) -> tuple[Tensor, float]:
        """The loss that is differentiated, and the loss that is reported."""
        if self.nests:
            return self._nested_objective(LocalBatch(x, y), device.rng)
        task, outputs = self.task, self.task.forward(self._module, x, y)
        if self._features is None:
            loss = task.loss_function(outputs, y)
            return loss, loss.item()
        heads = [task.classes_last(answer) for answer in several_of(outputs)]
        batch = LocalBatch(x, y, heads[-1], self._features.taken(), heads)
        if self.adjusts_outputs:
            batch.outputs = self.method.adjust_outputs(batch.outputs, batch, device.context)
            outputs = task.classes_back(batch.outputs)
        loss = task.loss_function(outputs, y)
        if not self.adjusts_loss:
            return loss, loss.item()
        return self.method.adjust_loss(loss, batch, device.context), loss.item()

    def _nested_objective(self, batch: LocalBatch, rng: np.random.Generator) -> tuple[Tensor, float]:
        """The same of the models that a step names."""
        task, (first, *others) = self.task, self.method.step_models(len(self._nested), rng)
        outputs = self._nested[first](self._module, batch)
        total = task.loss_function(outputs, batch.targets)
        told, teacher = total.item(), task.classes_last(answer_of(outputs)).detach()
        for place in others:
            outputs = self._nested[place](self._module, batch)
            loss = task.loss_function(outputs, batch.targets)
            total = total + self.method.taught_loss(loss, task.classes_last(answer_of(outputs)), teacher)
        return total, told

    def elsewhere(self) -> DeviceElsewhere:
        """The module under other weights, with the buffers that it has."""
        assert self._features is not None
        module = self._module
        elsewhere = Elsewhere(self.task, module, self._features)
        return DeviceElsewhere(self.task, elsewhere, lambda: dict(module.named_buffers()))

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
        moving = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
        self._resting = [parameter for parameter in engine.parameters if id(parameter) not in moving]
        self.start = as_tensor(job.start[:head], device)
        self.local: Arrays = {name: as_tensor(vector, device) for name, vector in job.local.items()}
        self.received: Arrays = {name: as_tensor(vector, device) for name, vector in job.received.items()}
        self.rng = Draws(job.seed, job.common_seed, STEPS).own
        if engine.sees:
            functions = engine.elsewhere()
            self.context = StepDevice(engine.task, job, self.start, self.local, self.received, functions)

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
        for parameter in self._resting:
            parameter.grad = torch.zeros_like(parameter)
        return loss

    def _gradient(self) -> Tensor:
        return flatten([p.grad for p in self._engine.parameters if p.grad is not None], self.start.dtype)


class _PrivateDevice(_Device):
    """The same by DP-SGD: the gradient of one example after the other, clipped, and noise on their sum."""

    def __init__(
        self, engine: LoopEngine, job: ClientJob, optimizer: torch.optim.Optimizer, draws: ExampleDraws, size: int
    ) -> None:
        super().__init__(engine, job, optimizer)
        assert engine.local.privacy is not None
        self._clip, self._draws = engine.local.privacy.clip, draws
        expected = expected_batch(size, job.batch_size or engine.local.batch_size)
        self._noising = StepNoising(engine.local.privacy, [draws], [expected])

    def _differentiate(self, x: Arguments, y: Tensor) -> float:
        total, losses = torch.zeros_like(self.start), 0.0
        for place, seed in enumerate(self._draws.seeds(len(y))):
            torch.default_generator.manual_seed(seed)
            own = slice(place, place + 1)
            loss, gradient = super()._differentiate(rows(x, own), y[own]), self._gradient()
            factor = clip_factors(gradient.square().sum(), self._clip)
            if factor > 0:  # What is not finite counts nothing.
                total += factor * gradient
            losses += loss if math.isfinite(loss) else 0.0
        for parameter in self._engine.parameters:  # There may have been no example.
            parameter.grad = torch.zeros_like(parameter)
        spread(self._noising(total.unsqueeze(0))[0], [p.grad for p in self._engine.parameters if p.grad is not None])
        return losses / max(len(y), 1)


def flatten(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Tensors one after the other, as one vector of a type."""
    return torch.cat([tensor.detach().reshape(-1).to(dtype) for tensor in tensors])


def spread(vector: Tensor | Vector, tensors: Sequence[Tensor]) -> None:
    """The inverse of :func:`flatten`, into tensors that exist."""
    whole = vector if isinstance(vector, Tensor) else as_tensor(vector, CPU)
    offset = 0
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(whole[offset : offset + tensor.numel()].view_as(tensor))
            offset += tensor.numel()


def _optimizer(parameters: list[nn.Parameter], local: LocalTraining, rate: float) -> torch.optim.Optimizer:
    if local.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, rate, local.momentum, weight_decay=local.weight_decay, nesterov=local.nesterov
        )
    kind = torch.optim.Adam if local.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, rate, weight_decay=local.weight_decay)

"""A PyTorch model and its federated data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fogline.data import Examples, FederatedData
from fogline.data.inputs import Array, count, mapped, rows, shown
from fogline.params import Params, State
from fogline.plugins import Registry
from fogline.randomness import seeded
from fogline.training.local import ClientJob
from fogline.training.method import LocalMethod
from fogline.training.metrics import CLASS_SUMS, NUMBER_SUMS
from fogline.training.task import Engine, Sums
from fogline.training.torch.adapters.merging import can_be_merged, merge
from fogline.training.torch.checking.making import keeps
from fogline.training.torch.checking.outside import differences
from fogline.training.torch.failure import wrong_targets
from fogline.training.torch.features import Features
from fogline.training.torch.layout import TensorLayout, as_tensor
from fogline.training.torch.module import TRIED, Arguments, ModuleTask, OutputTrial
from fogline.training.torch.outputs.answers import answer_of, answering_by_mean, mean_of, several_of
from fogline.training.torch.outputs.fit import Fit, decides, fit_of, fitted_loss, loss_problem
from fogline.training.torch.outputs.functions import EVALUATION_BATCH, JudgedModel
from fogline.training.torch.outputs.judging import judge_classes, judge_numbers
from fogline.training.torch.outputs.losses import LossFunction, LossName, loss_function, shape_of
from fogline.training.torch.outputs.statistics import measured_statistics, statistics_in
from fogline.training.torch.sub_models.cutting import TorchCutter
from fogline.user_code.bugs import attempt

ENGINES = Registry[type[Engine]]("engine", "fogline.training.torch.engines", first="loop")
"""Engines of the PyTorch backend; they are written against the class below."""


class TorchTask(ModuleTask):
    """A PyTorch model and its federated data.

    Args:
        model: makes the module, untrained. Called more than once, always under the job's seed.
        data: examples per client; integer targets are classes.
        loss: ``cross_entropy``, ``mse``, ``l1``, or a function of (outputs, targets) to their mean loss. A loss by
            name is, for a module that gives several outputs, the mean over them. ``model``: the module computes it; it
            is called with ``labels`` besides and gives an object with ``loss`` and ``logits``.
        name: what people call it.
        headline: the metric looked at first; accuracy for classes, rmse for numbers, where not said.
        device: where engines train and models are judged (``cpu``, ``cuda``).
        higher_is_better: of the headline; where not said, its name tells.
        class_axis: the outputs' axis that counts classes, 1 or -1; only needed where shapes leave it open.
        answer: what is judged and served of a module that gives several outputs: the ``last``, or the ``mean`` of all
            (in the place of the last).

    Raises:
        ValueError: there is no such loss or metric, or the headline's name does not tell which way is better.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module],
        data: FederatedData,
        loss: LossName | LossFunction = "cross_entropy",
        name: str = "model",
        headline: str | None = None,
        device: str | torch.device = "cpu",
        higher_is_better: bool | None = None,
        class_axis: int | None = None,
        answer: Literal["last", "mean"] = "last",
    ) -> None:
        if isinstance(model, nn.Module) or not callable(model):
            kind = type(model).__name__
            known = isinstance(model, nn.Module)  # pyright: ignore[reportUnnecessaryIsInstance]
            make = f"{kind}(...)" if known else "nn.Linear(4, 2)"
            raise ValueError(
                f"model is a {kind}; it must be a function that makes a module: Task(lambda: {make}, data)."
            )
        own = callable(loss) or loss == "model"
        classifies = loss == "cross_entropy" or (own and data.classes is not None)
        super().__init__(model, data, loss, classifies, name, headline, device, higher_is_better)
        if class_axis not in (None, 1, -1):
            raise ValueError(f"class_axis is {class_axis}; it must be 1 or -1, or be left out.")
        if answer not in ("last", "mean"):
            raise ValueError(f"answer is {answer!r}; it must be 'last' or 'mean'.")
        loss_function(loss)  # Refuses a name that there is not.
        self._axis = class_axis
        self.answered_by: Literal["last", "mean"] = answer
        self._functions: tuple[int, nn.Module, Features] | None = None

    @cached_property
    def loss_function(self) -> LossFunction:
        """(outputs, targets) of one batch to the mean loss; targets as `targets` gives them."""
        loss = loss_function(self.loss, self.class_axis)
        if not (callable(self.loss) and self.classifies):
            return loss
        return fitted_loss(loss, self.fit)

    @cached_property
    def fit(self) -> Fit:
        """How outputs and targets go together, found by a trial."""
        trial = self._trial
        answer = attempt(lambda: answer_of(trial.outputs)) if isinstance(trial, OutputTrial) else trial
        if isinstance(answer, Exception) or not isinstance(trial, OutputTrial):
            return Fit("classes" if self.classifies else "numbers", self._axis or 1)
        targets = as_tensor(trial.examples.y, torch.device("cpu"))
        # A GPU would refuse some of what is tried in the middle of a kernel, and then for good.
        loss = copy.deepcopy(self.loss).cpu() if isinstance(self.loss, nn.Module) else self.loss
        return fit_of(answer.detach().cpu(), targets, loss, self.classifies, self._axis, self._probed_axis)

    @property
    def class_axis(self) -> int:
        """The outputs' axis that counts the classes: 1, as in PyTorch, or -1."""
        return self.fit.axis

    @cached_property
    def outputs(self) -> int | None:
        """Labels run below it: classes that the model tells apart; None if it does not classify.

        Found by a trial; or taken from the data, if the model does not take an example by itself, or the loss is one's
        own and may count otherwise.
        """
        if not self.classifies:
            return None
        if self.loss != "cross_entropy" or not isinstance(self._trial, OutputTrial) or self.fit.kind != "classes":
            return self.data.classes
        return answer_of(self._trial.outputs).shape[self.class_axis]

    @cached_property
    def keeps(self) -> bool:
        """Whether a module must be made anew for each device, and each judgement: see :func:`keeps`."""
        module = self.untrained()

        def step() -> None:
            targets = self._first().y
            self.forward(module, self.pair(), self.targets(np.resize(targets, (2, *targets.shape[1:]))))

        return keeps(module, step)

    def check(self) -> None:
        """Refuse, before anything runs, what would not train, or be judged or served as it was trained.

        Raises:
            ValueError: one sentence.
        """
        if not self.spec.trainable:
            raise ValueError(f"The model of task '{self.name}' has no trainable parameters: there is nothing to learn.")
        odd = differences(self.untrained(), self.untrained())
        if odd:
            raise ValueError(
                f"The model of task '{self.name}' differs each time it is made, in {', '.join(odd[:3])}; trainer, "
                "judge and server make it each for itself. Draw it from torch, numpy.random or random, which are "
                "seeded, or make it part of the state (register_buffer)."
            )
        trial = self._trial
        if isinstance(trial, Exception):
            lines = str(trial).strip().splitlines() or [type(trial).__name__]
            given = attempt(lambda: shown(self._first().x))
            if isinstance(given, Exception):
                return  # The data of these clients cannot be loaded: they fail by themselves, and say so.
            raise ValueError(
                f"The model of task '{self.name}' cannot take its inputs, {given}: {lines[0].rstrip('.')}."
            )
        told = self.headline == "loss" or type(self).evaluate is not TorchTask.evaluate
        if not told and self._is_undeclared():
            raise ValueError(
                f"Task '{self.name}': the targets are all 0 or 1, and the loss decides between them, so these are two "
                "classes, not numbers; give the data classes=2, with labels that are whole numbers "
                "(y.astype(np.int64)). headline='loss' judges by the loss alone."
            )
        self._check_answers(trial.outputs)
        y = self.targets(trial.examples.y)
        problem = self.fit.problem or loss_problem(self.loss_function, trial.outputs, y)
        if problem:
            raise ValueError(f"Task '{self.name}': {problem}")
        self._check_labels()
        if self.fit.kind == "unknown" and not told:
            raise ValueError(
                f"Task '{self.name}': only the loss knows what outputs {shape_of(answer_of(trial.outputs))} mean for "
                f"targets {shape_of(as_tensor(trial.examples.y, self.device))}; judge by it with headline='loss', or "
                "override evaluate."
            )

    def _check_answers(self, outputs: Any) -> None:
        """Refuse a mean of one answer, or of answers that are no numbers of the same things."""
        if self.answered_by == "last":
            return
        answers = several_of(outputs)
        if len(answers) < 2 or len({answer.shape for answer in answers}) > 1:
            gives = ", ".join(map(shape_of, answers))
            raise ValueError(
                f"Task '{self.name}': answer='mean' wants several outputs of one shape, and the model gives {gives}; "
                "leave it out."
            )

    def _is_undeclared(self) -> bool:
        """Whether targets are two classes, and nobody said so."""
        if self.classifies or not callable(self.loss) or self.fit.kind != "numbers":
            return False
        assert isinstance(self._trial, OutputTrial)
        known = [self._trial.examples.y] if self.data.test is None else [self.data.test.y]
        for client in range(min(TRIED, len(self.data.clients))):
            y = attempt(lambda client=client: self.data.targets(client))
            known += [] if isinstance(y, Exception) else [y]
        if not all(np.isin(y, (0, 1)).all() for y in known):
            return False
        return decides(self.loss, answer_of(self._trial.outputs))

    def _check_labels(self) -> None:
        """Of the test set, and of a few clients those that mark what has no truth, if the loss does not know them."""
        test = self.data.test
        wrong = self.wrong_targets(self.targets(test.y))[1] if test is not None else None
        if wrong:
            raise ValueError(f"Task '{self.name}': the test set's {wrong}.")
        if test is not None and not self.known(self.truth(test.y)).any():
            raise ValueError(f"Task '{self.name}': none of the test set's targets has a truth; leave the test set out.")
        for client in range(min(TRIED, len(self.data.clients))):
            y = attempt(lambda client=client: self.targets(self.data.targets(client)))
            wrong = self.wrong_targets(y)[1] if isinstance(y, Tensor) else None
            if wrong and "leave out" in wrong:
                raise ValueError(f"Task '{self.name}', client '{self.data.clients[client]}': {wrong}.")

    def wrong_targets(self, targets: Tensor) -> tuple[int, str | None]:
        """The lowest label, and what is wrong with the labels."""
        return wrong_targets(targets, self.outputs, self.fit.ignored, self.data.meaning.untold)

    def remade(self, make: Callable[[], nn.Module]) -> Self:
        twin = super().remade(make)
        twin._functions = None
        return twin

    def served(self, params: Params) -> tuple[Self, Params]:
        module = self.untrained().cpu()
        if not can_be_merged(module) and self.answered_by == "last":
            return self, params
        self.layout.load(module, params.vector, params.counters)
        served = self.as_served(module)
        twin = self.remade(lambda: self.as_served(self.complete()))
        twin.answered_by = "last"  # The module does that itself.
        return twin, TensorLayout(served).read(served)

    def as_served(self, module: nn.Module) -> nn.Module:
        """A module of the task's, changed into what is served: adapters merged, and its last output the answer."""
        module = merge(module)
        return answering_by_mean(module) if self.answered_by == "mean" else module

    def answer(self, outputs: Any) -> Tensor:
        """What is judged of a module's outputs."""
        return mean_of(outputs) if self.answered_by == "mean" else answer_of(outputs)

    def cutter(self) -> TorchCutter:
        """Makes smaller models of this one: narrower, shallower, or with fewer layers that train."""
        return TorchCutter(self)

    def engines(self) -> Mapping[str, type[Engine]]:
        """The engines of this kind of task; ``loop`` is the reference."""
        return ENGINES

    def classes_last(self, outputs: Tensor) -> Tensor:
        """Outputs (..., classes), as methods take them: the classes stand last."""
        return outputs.movedim(1, -1) if self.classifies and self.class_axis == 1 and outputs.ndim > 2 else outputs

    def classes_back(self, outputs: Tensor) -> Tensor:
        """Move the axis of classes back to where :meth:`classes_last` took it from."""
        return outputs.movedim(-1, 1) if self.classifies and self.class_axis == 1 and outputs.ndim > 2 else outputs

    def side_by_side(self, outputs: Any) -> Tensor:
        """What a module gives as one tensor: several answers as (B, answers, ..., classes)."""
        if isinstance(outputs, Tensor):
            return outputs
        return torch.stack([self.classes_last(answer) for answer in several_of(outputs)], 1)

    def targets(self, y: Array) -> Tensor:
        """Targets as the loss takes them: classes as int64, shares and numbers in the model's type."""
        tensor = as_tensor(y, self.device)
        if not self.classifies:
            return tensor.to(self.dtype)
        if self._soft(tensor):
            return tensor.to(self.dtype)
        labels = tensor.long()
        return labels.squeeze(1) if self.fit.squeezes and labels.ndim > 1 and labels.shape[1] == 1 else labels

    @property
    def has_shares(self) -> bool:
        """Whether targets are soft labels: a share for each class."""
        return isinstance(self._trial, OutputTrial) and self._soft(as_tensor(self._trial.examples.y, self.device))

    def _soft(self, targets: Tensor) -> bool:
        if self.fit.kind != "classes" or not isinstance(self._trial, OutputTrial) or not targets.is_floating_point():
            return False
        return targets.shape[1:] == answer_of(self._trial.outputs).shape[1:] and targets.ndim > 1

    @property
    def threshold(self) -> float | None:
        """Above it, an output says the second of two classes; None where there is one output for each class."""
        return self.fit.threshold if self.fit.kind == "binary" else None

    def named(self, output: Array) -> Array:
        """The classes that outputs (n, ...) name."""
        threshold = self.threshold
        return output.argmax(self.class_axis) if threshold is None else (output > threshold).astype(np.int64)

    def truth(self, y: Array) -> Array:
        """Targets as (n,) or (n, ...) classes or numbers, one for each; of soft labels the likeliest."""
        if not self.classifies:
            return y
        targets = self.targets(y)
        return (targets.argmax(self.class_axis) if targets.is_floating_point() else targets).cpu().numpy()

    def known(self, truth: Array) -> npt.NDArray[np.bool_]:
        """Where there is one: not where the loss ignores the label."""
        return ~np.isin(truth, self.fit.ignored if self.classifies else ())

    def weight(self, y: Tensor) -> int:
        """What a device's update counts: its examples, those of which no target has a truth left out."""
        if y.is_floating_point() or not self.fit.ignored:
            return len(y)
        known = torch.ones_like(y, dtype=torch.bool)
        for label in self.fit.ignored:
            known &= y != label
        return int(known.flatten(1).any(1).sum()) if y.ndim > 1 else int(known.sum())

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        """Sums over examples (or over the targets of sequences)."""
        module = (self.untrained() if self.keeps else self._judge).eval()
        params = params.laid_out(self.spec)  # A method may have had other entries train.
        self.layout.load(module, params.vector, params.counters)
        judge = judge_classes if self.classifies else judge_numbers
        sums: Sums = {}
        for start in range(0, len(examples.y), EVALUATION_BATCH):
            # A copy: a module may change what it is given.
            part = mapped(np.copy, rows(examples.x, slice(start, start + EVALUATION_BATCH)))
            y = self.targets(examples.y[start : start + EVALUATION_BATCH])
            with torch.inference_mode(), seeded(self.seed):
                outputs = self.forward(module, self.arguments(part), y)
                judged = judge(outputs, self.answer(outputs), y, self.loss_function, self.fit)
            for name, value in judged.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    @property
    def sum_names(self) -> tuple[str, ...]:
        """Names of the sums that :meth:`evaluate` can give."""
        return CLASS_SUMS if self.classifies else NUMBER_SUMS

    @property
    def running_statistics(self) -> tuple[str, ...]:
        """Names of the buffers of batch normalisation."""
        return statistics_in(self._judge)

    def measured(self, params: Params, examples: Examples, batch_size: int | None, seed: int) -> State:
        """The running statistics of a model, as a pass over examples gives them."""
        return measured_statistics(self, self.layout, params, examples, batch_size, seed)

    @property
    def judges_outputs(self) -> bool:
        """Not where the module computes its loss, or somebody's own ``evaluate`` judges."""
        return self.loss != "model" and type(self).evaluate is TorchTask.evaluate

    def sums_of_outputs(self, outputs: Array, y: Array) -> Sums:
        """Sums over examples whose outputs (n, ...) are given, the classes last."""
        judge = judge_classes if self.classifies else judge_numbers
        with torch.inference_mode():
            answer = self.classes_back(self.array(outputs))
            return judge(answer, answer, self.targets(y), self.loss_function, self.fit)

    def model_functions(self, job: ClientJob) -> JudgedModel:
        """The model with that device's buffers, as it is judged."""
        if self.keeps or self._functions is None or self._functions[0] != self.seed:
            module = self.untrained()
            self._functions = self.seed, module, Features(module)
        return JudgedModel(self, self.layout, self.loss_function, *self._functions[1:], job)

    @property
    def smallest_batch(self) -> int:
        """2 where the module does not train on one example (batch normalisation), found by a trial."""
        return self._smallest_batch

    @cached_property
    def _smallest_batch(self) -> int:
        pair = attempt(self.pair)
        if isinstance(pair, Exception):
            return 1  # Whoever trains will say what is wrong with the examples.
        module = self.untrained().train()
        return 2 if self._trains(module, pair) and not self._trains(module, rows(pair, slice(1))) else 1

    def _trains(self, module: nn.Module, x: Arguments) -> bool:
        """Whether a module in training takes a batch and stays finite."""
        y = self._first().y
        with seeded(0), torch.no_grad():
            outputs = attempt(lambda: answer_of(self._called(module, x, np.resize(y, (count(x), *y.shape[1:])))))
        numbers = [n for n in (outputs, *module.buffers()) if isinstance(n, Tensor)]
        return not isinstance(outputs, Exception) and all(bool(n.isfinite().all()) for n in numbers)

    def digest(self, method: LocalMethod) -> str | None:
        """Of a new module, as it is made now, the loss and the method."""
        from fogline.training.torch.checking.fingerprint import digest_of  # Only where a comparison is remembered.

        return digest_of(self.untrained(), self.loss, self.class_axis, str(self.device), type(method), vars(method))

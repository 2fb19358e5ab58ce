"""A PyTorch model and its federated data."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from fogline.data import Examples, FederatedData
from fogline.data.inputs import Array, Inputs, count, mapped, rows, shown
from fogline.params import Params, Spec, Vector
from fogline.randomness import seeded
from fogline.training.bugs import attempt
from fogline.training.method import LocalMethod
from fogline.training.task import Engine, Sums, Task
from fogline.training.torch.answers import answer_of, own_loss, part_of, several_of
from fogline.training.torch.failure import wrong_targets
from fogline.training.torch.fit import Fit, decides, fit_of, fitted_loss, loss_problem
from fogline.training.torch.judging import judge_classes, judge_numbers
from fogline.training.torch.layout import TensorLayout, as_tensor
from fogline.training.torch.losses import LossFunction, LossName, loss_function, shape_of
from fogline.training.torch.making import keeps, without_dropout
from fogline.training.torch.outside import differences

EVALUATION_BATCH = 512
TRIED = 3
"""Clients whose examples are tried, one after the other, to see how the model takes an example."""

Arguments = Any
"""Inputs as tensors: one, a tuple (the module's arguments), or a dict (its arguments by name)."""


@dataclass(frozen=True, slots=True)
class OutputTrial:
    """What the untrained module gives for a few examples."""

    outputs: Any
    examples: Examples
    floats: bool
    """Whether whole numbers had to be given as floats."""


class TorchTask(Task):
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
        super().__init__(name, data, classifies, headline, higher_is_better)
        if class_axis not in (None, 1, -1):
            raise ValueError(f"class_axis is {class_axis}; it must be 1 or -1, or be left out.")
        loss_function(loss)  # Refuses a name that there is not.
        self.loss: LossName | LossFunction = loss
        self.device = torch.device(device)
        self.on_processor = self.device.type == "cpu"
        self._make = model
        self._axis = class_axis
        self._judged: tuple[int, nn.Module] | None = None

    @cached_property
    def layout(self) -> TensorLayout:
        """Between the module and the flat vector."""
        return TensorLayout(self._judge)

    @property
    def spec(self) -> Spec:
        """The layout of the model."""
        return self.layout.spec

    @cached_property
    def dtype(self) -> torch.dtype:
        """Type in which the model takes its inputs: that of its first floating parameter."""
        floats = [p.dtype for p in self._judge.parameters() if p.is_floating_point()]
        return floats[0] if floats else torch.float32

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
        targets = as_tensor(trial.examples.y, answer.device)
        return fit_of(answer, targets, self.loss, self.classifies, self._axis, self._probed_axis)

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

    @property
    def gives_several(self) -> bool:
        """Whether the module gives something else than one tensor (early exits, an object), found by a trial."""
        return isinstance(self._trial, OutputTrial) and not isinstance(self._trial.outputs, Tensor)

    @property
    def gives_logits(self) -> bool:
        """Whether the module gives an object with ``logits``."""
        return isinstance(self._trial, OutputTrial) and part_of(self._trial.outputs, "logits") is not None

    @property
    def takes_several(self) -> bool:
        """Whether the module takes several arrays, or its targets besides."""
        return self.loss == "model" or not isinstance(self._first().x, np.ndarray)

    @cached_property
    def _trial(self) -> OutputTrial | Exception:
        """What the untrained module gives for examples of the first client with whom it works, or what it raises."""
        found: OutputTrial | Exception = ValueError("there is no example")
        for client in range(min(TRIED, len(self.data.clients))):
            examples = attempt(lambda client=client: self._example(client))
            if isinstance(examples, Exception):
                found = found if client else examples
                continue
            for floats in (False, True):
                outputs = attempt(lambda e=examples, f=floats: self._tried(e, f))
                if not isinstance(outputs, Exception):
                    return OutputTrial(outputs, examples, floats)
                found = found if client or floats else outputs
        return found

    def _tried(self, examples: Examples, floats: bool) -> Any:
        x = mapped(lambda part: self._tensor(part, floats), examples.x)
        with torch.no_grad(), seeded(self.seed):
            outputs = self._called(self._judge.eval(), x, examples.y)
        several_of(outputs)
        if self.loss == "model":
            own_loss(outputs, torch.empty(0))
        return outputs

    def _called(self, module: nn.Module, x: Arguments, y: Array) -> Any:
        """As ``forward``, before it is known how targets look."""
        labels = as_tensor(y, self.device) if self.loss == "model" else None
        return self.forward(module, x, labels if labels is None or not self.classifies else labels.long())

    def _probed_axis(self) -> int | None:
        """Where the classes are: not where outputs get shorter as inputs do."""
        trial = self._trial
        if not isinstance(trial, OutputTrial) or not isinstance(trial.examples.x, np.ndarray):
            return None
        x, y = trial.examples.x, trial.examples.y
        whole = answer_of(trial.outputs).shape
        for axis in range(1, x.ndim):
            shorter = Examples(np.delete(x, -1, axis), y)
            outputs = attempt(lambda e=shorter: answer_of(self._tried(e, trial.floats)))
            if isinstance(outputs, Tensor) and outputs.ndim == len(whole):
                moved = outputs.shape[1] != whole[1], outputs.shape[-1] != whole[-1]
                if moved[0] != moved[1]:
                    return -1 if moved[0] else 1
        return None

    @property
    def cost(self) -> float:
        """MFLOP to train on one example: three times the forward pass, as PyTorch counts it.

        PyTorch counts products and convolutions, but not recurrent layers: so no less than six per parameter.
        """
        return max(3e-6 * self._forward_flops, super().cost)

    @cached_property
    def _forward_flops(self) -> int:
        one, floats = self._first().part(slice(1)), self._floats
        with FlopCounterMode(display=False) as counter:
            outputs = attempt(lambda: self._tried(one, floats))
        return 0 if isinstance(outputs, Exception) else counter.get_total_flops()

    @property
    def _judge(self) -> nn.Module:
        """The module that evaluates, and that shows what the model is made of."""
        if self._judged is None or self._judged[0] != self.seed:
            self._judged = self.seed, self.untrained()
        return self._judged[1]

    def untrained(self) -> nn.Module:
        """A new module on the task's device, made under the task's seed: the same each time."""
        return self._made(self.seed).to(self.device)

    @cached_property
    def keeps(self) -> bool:
        """Whether a module must be made anew for each device, and each judgement: see :func:`keeps`."""
        module = self.untrained()

        def step() -> None:
            targets = self._first().y
            self.forward(module, self.pair(), self.targets(np.resize(targets, (2, *targets.shape[1:]))))

        return keeps(module, step)

    def pair(self) -> Arguments:
        """Two examples of a device, as the model takes them; the same one twice if there are no two."""
        x = self.arguments(self._first().x)
        return x if count(x) == 2 else mapped(lambda part: part.repeat_interleave(2, 0), x)

    def _made(self, seed: int) -> nn.Module:
        """Under a seed, without disturbing what the program draws."""
        with seeded(seed):
            module = self._make()
            if any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
                self._materialise(module)
        return module

    def _materialise(self, module: nn.Module) -> None:
        """Shapes that were left open are those of an example."""
        training, examples = module.training, self._first()
        with torch.no_grad():
            for floats in (False, True):
                x = mapped(lambda part, f=floats: _typed(part, torch.float32, f), examples.x)
                raised = attempt(lambda x=x: self._called(module.eval(), x, examples.y))
                if not isinstance(raised, Exception):
                    break
            else:
                raise ValueError(f"The model leaves shapes open, and cannot take an example to settle them: {raised}")
        module.train(training)

    def _first(self) -> Examples:
        """A few examples of the first device whose data can be loaded, of those that are tried."""
        for client in range(min(TRIED, len(self.data.clients))):
            found = attempt(partial(self._example, client))
            if not isinstance(found, Exception):
                return found
        return self._example(0)

    def _example(self, client: int) -> Examples:
        """A few examples, two if there are: copies, as a module may change what it is given."""
        x, y = self.data.at(client).part(slice(2))
        return Examples(mapped(np.copy, x), y)

    @property
    def _floats(self) -> bool:
        return isinstance(self._trial, OutputTrial) and self._trial.floats

    def initial(self, seed: int) -> Params:
        """The untrained model of that seed."""
        return self.layout.read(self._made(seed))

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

    def engines(self) -> Mapping[str, type[Engine]]:
        """The engines of this kind of task; ``loop`` is the reference."""
        from fogline.training.torch.engines import ENGINES  # Engines are written against this class.

        return ENGINES

    def inputs(self, x: Array) -> Tensor:
        """One array as the model takes it: floating ones in its type, integers as int64.

        Integers go as floats too, if the model does not take them as they are: pixels to a convolution.
        """
        return self._tensor(x, x.dtype.kind != "f" and self._floats)

    def arguments(self, x: Inputs) -> Arguments:
        """All inputs as the model takes them."""
        return mapped(self.inputs, x)

    def _tensor(self, x: Array, floats: bool) -> Tensor:
        return _typed(x, self.dtype, floats, self.device)

    def forward(self, module: nn.Module, x: Arguments, y: Tensor | None = None) -> Any:
        """What a module gives for a batch: of one tensor, of a tuple as its arguments, of a dict as those by name.

        ``y``: the targets, which a module that computes its own loss is given as ``labels``.
        """
        labels = {"labels": y} if self.loss == "model" and y is not None else {}
        if isinstance(x, dict):
            return module(**x, **labels)
        return module(*x, **labels) if isinstance(x, tuple) else module(x, **labels)

    def classes_last(self, outputs: Tensor) -> Tensor:
        """Outputs (..., classes), as methods take them: the classes stand last."""
        return outputs.movedim(1, -1) if self.classifies and self.class_axis == 1 and outputs.ndim > 2 else outputs

    def classes_back(self, outputs: Tensor) -> Tensor:
        """Move the axis of classes back to where :meth:`classes_last` took it from."""
        return outputs.movedim(-1, 1) if self.classifies and self.class_axis == 1 and outputs.ndim > 2 else outputs

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
        self.layout.load(module, params.vector, params.counters)
        judge = judge_classes if self.classifies else judge_numbers
        sums: Sums = {}
        for start in range(0, len(examples.y), EVALUATION_BATCH):
            # A copy: a module may change what it is given.
            part = mapped(np.copy, rows(examples.x, slice(start, start + EVALUATION_BATCH)))
            y = self.targets(examples.y[start : start + EVALUATION_BATCH])
            with torch.inference_mode(), seeded(self.seed):
                outputs = self.forward(module, self.arguments(part), y)
                judged = judge(outputs, y, self.loss_function, self.fit)
            for name, value in judged.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

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
        from fogline.training.torch.fingerprint import digest_of  # Only where a comparison is remembered.

        return digest_of(self.untrained(), self.loss, self.class_axis, str(self.device), type(method), vars(method))

    def array(self, vector: Vector) -> Tensor:
        """A vector as a tensor on the task's device."""
        return as_tensor(vector, self.device)

    def rehearsal(self, data: FederatedData) -> Self:
        """A twin on other data; where kernels do not draw what PyTorch's dropout draws, without dropout."""
        twin = super().rehearsal(data)
        if self.device.type != "cpu":
            twin._make = lambda: without_dropout(self._make())
        return twin

    @contextmanager
    def exact_arithmetic(self) -> Generator[None]:
        """Keeps a GPU from rounding the factors of products to fewer bits."""
        products, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
        products.allow_tf32 = False
        try:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                yield
        finally:
            products.allow_tf32 = before

    @contextmanager
    def one_thread(self) -> Generator[None]:
        """Keeps PyTorch to one thread: the simulator runs one process per core."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _typed(x: Array, floating: torch.dtype, floats: bool, device: torch.device | None = None) -> Tensor:
    tensor = as_tensor(x, device or torch.device("cpu"))
    return tensor.to(floating) if floats or tensor.is_floating_point() else tensor.long()

"""The module of a task: how it is made, what it takes, and what it gives for a few examples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from fogline.data import Examples, FederatedData
from fogline.data.inputs import Array, Inputs, count, mapped
from fogline.params import Params, Spec, Vector
from fogline.randomness import seeded
from fogline.training.task import Task
from fogline.training.torch.checking.making import without_dropout
from fogline.training.torch.layout import TensorLayout, as_tensor
from fogline.training.torch.outputs.answers import answer_of, own_loss, part_of, several_of
from fogline.training.torch.outputs.losses import LossFunction, LossName
from fogline.training.torch_threads import torch_on_one_thread
from fogline.user_code.bugs import attempt

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


class ModuleTask(Task):
    """A task whose model is a PyTorch module. What its outputs mean for the targets, an heir says.

    Args:
        model: makes the module, untrained.
        data: examples per client.
        loss: its name, or a function of (outputs, targets).
        classifies: whether targets are classes.
        name: what people call it.
        headline: the metric looked at first.
        device: where engines train and models are judged.
        higher_is_better: of the headline.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module],
        data: FederatedData,
        loss: LossName | LossFunction,
        classifies: bool,
        name: str,
        headline: str | None,
        device: str | torch.device,
        higher_is_better: bool | None,
    ) -> None:
        super().__init__(name, data, classifies, headline, higher_is_better)
        self.loss: LossName | LossFunction = loss
        self.device = _present(device)
        self.on_processor = self.device.type == "cpu"
        self._make = model
        self._judged: tuple[int, nn.Module] | None = None

    @cached_property
    def layout(self) -> TensorLayout:
        """Between the module and the flat vector."""
        return TensorLayout(self._judge)

    @property
    def spec(self) -> Spec:
        """Layout of the model."""
        return self.layout.spec

    @cached_property
    def dtype(self) -> torch.dtype:
        """Type in which the model takes its inputs: that of its first floating parameter."""
        floats = [p.dtype for p in self._judge.parameters() if p.is_floating_point()]
        return floats[0] if floats else torch.float32

    @property
    def cost(self) -> float:
        """MFLOP to train on one example: three times the forward pass, as PyTorch counts it.

        PyTorch counts products and convolutions, but not recurrent layers: so no less than six per parameter.
        """
        return max(3e-6 * self._forward_flops, super().cost)

    @cached_property
    def _forward_flops(self) -> int:
        one = attempt(lambda: self._first().part(slice(1)))
        if isinstance(one, Exception):  # Nobody's data can be loaded, as those who train will say.
            return 0
        floats = self._floats
        with FlopCounterMode(display=False) as counter:
            outputs = attempt(lambda: self._tried(one, floats))
        return 0 if isinstance(outputs, Exception) else counter.get_total_flops()

    def initial(self, seed: int) -> Params:
        """The untrained model of that seed."""
        return self.layout.read(self._made(seed))

    def untrained(self) -> nn.Module:
        """A new module on the task's device, made under the task's seed: the same each time."""
        return self._made(self.seed).to(self.device)

    @property
    def _judge(self) -> nn.Module:
        """The module that evaluates, and that shows what the model is made of."""
        if self._judged is None or self._judged[0] != self.seed:
            self._judged = self.seed, self.untrained()
        return self._judged[1]

    def _made(self, seed: int) -> nn.Module:
        """Under a seed, without disturbing what the program draws."""
        with seeded(seed):
            return self.complete()

    def complete(self) -> nn.Module:
        """A new module, drawn from what the program draws from, with no shape left open."""
        module = self._make()
        if any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
            self._materialise(module)
        return module

    def remade(self, make: Callable[[], nn.Module]) -> Self:
        """A twin with another model on the same data."""
        twin = copy.copy(self)
        for name in [name for name in vars(twin) if isinstance(getattr(type(self), name, None), cached_property)]:
            vars(twin).pop(name)  # What was found out of this model.
        twin._make, twin._judged, twin.home, twin.sub_models = make, None, None, None
        return twin

    def trains_only(self, names: Collection[str]) -> Self:
        return self.remade(partial(_training_only, self.complete, frozenset(names)))

    def gives(self) -> Any:
        """What the untrained module gives for a few examples.

        Raises:
            ValueError: it takes none; a sentence.
        """
        trial = self._trial
        if isinstance(trial, OutputTrial):
            return trial.outputs
        why = (str(trial).strip().splitlines() or [type(trial).__name__])[0].rstrip(".")
        raise ValueError(f"the model of task '{self.name}' cannot take its inputs: {why}") from trial

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

    def array(self, vector: Vector) -> Tensor:
        """A vector as a tensor on the task's device."""
        return as_tensor(vector, self.device)

    def pair(self) -> Arguments:
        """Two examples of a device, as the model takes them; the same one twice if there are no two."""
        x = self.arguments(self._first().x)
        return x if count(x) == 2 else mapped(lambda part: part.repeat_interleave(2, 0), x)

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

    def rehearsal(self, data: FederatedData) -> Self:
        """A twin on other data; where kernels do not draw what PyTorch's dropout draws, without dropout."""
        twin = super().rehearsal(data)
        if self.device.type != "cpu":
            twin._make = lambda: without_dropout(self._make())
        return twin

    @property
    def forkable(self) -> bool:
        """Not where a GPU is used, or was: neither it nor autograd's threads survive a fork."""
        return self.on_processor and not torch.cuda.is_initialized()

    @contextmanager
    def exact_arithmetic(self) -> Generator[None]:
        """Keeps a GPU from rounding the factors of products to fewer bits, as it would do for one engine and not for
        another: which window's largest number is the largest then depends on the engine."""
        if self.on_processor:
            yield
            return
        products, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
        products.allow_tf32 = False
        try:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                yield
        finally:
            products.allow_tf32 = before

    def one_thread(self) -> AbstractContextManager[None]:
        """Keeps PyTorch to one thread: the simulator runs one process per core."""
        return torch_on_one_thread()


def _training_only(complete: Callable[[], nn.Module], names: frozenset[str]) -> nn.Module:
    module = complete()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in names)
    return module


def _present(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {str(name)!r}; write 'cpu', 'cuda', or 'cuda:1' for the second GPU.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is '{device}', and PyTorch finds no GPU here; leave it out for the processor.")
    if (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(f"device is '{device}', and PyTorch finds {torch.cuda.device_count()} GPUs, numbered from 0.")
    return device


def _typed(x: Array, floating: torch.dtype, floats: bool, device: torch.device | None = None) -> Tensor:
    tensor = as_tensor(x, device or torch.device("cpu"))
    return tensor.to(floating) if floats or tensor.is_floating_point() else tensor.long()

"""A PyTorch model and its federated data."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fogline.data import Examples, FederatedData
from fogline.params import Params, Spec, Vector
from fogline.training.method import LocalMethod
from fogline.training.task import Engine, Sums, Task
from fogline.training.torch.draws import own_draws
from fogline.training.torch.failure import attempt
from fogline.training.torch.layout import Layout, as_tensor
from fogline.training.torch.losses import (
    LossFunction,
    LossName,
    judge_classes,
    judge_numbers,
    loss_function,
    targets_type,
)

EVALUATION_BATCH = 512


class TorchTask(Task):
    """A PyTorch model and its federated data.

    Args:
        model: makes the module, untrained. Called more than once; its weights are drawn under a seed.
        data: examples per client; integer targets are classes.
        loss: ``cross_entropy``, ``mse``, ``l1``, or a function of (outputs, targets) to their mean loss. A loss by
            name is, for a module that gives several outputs, the mean over them.
        name: what people call it.
        headline: the metric looked at first; accuracy for classes, rmse for numbers, where not said.
        device: where engines train and models are judged (``cpu``, ``cuda``).
        higher_is_better: of the headline; where not said, its name tells.

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
    ) -> None:
        classifies = loss == "cross_entropy" or (callable(loss) and data.classes is not None)
        super().__init__(name, data, classifies, headline, higher_is_better)
        self.model = model
        self.loss = loss
        self.loss_function = loss_function(loss)
        self.device = torch.device(device)

    @cached_property
    def layout(self) -> Layout:
        """Between the module and the flat vector."""
        return Layout(self._judge)

    @property
    def spec(self) -> Spec:
        """Layout of the model."""
        return self.layout.spec

    @cached_property
    def dtype(self) -> torch.dtype:
        """Type in which the model takes its inputs: that of its first floating parameter."""
        floats = [p.dtype for p in self._judge.parameters() if p.is_floating_point()]
        return floats[0] if floats else torch.float32

    @cached_property
    def outputs(self) -> int | None:
        """Classes that the model tells apart; None if it does not classify.

        Found by a trial, or taken from the data if the model does not take an example by itself.
        """
        if not self.classifies:
            return None
        if not isinstance(self._trial, Tensor):
            return self.data.classes
        return self._trial.shape[1 if self._trial.ndim == 4 else -1]

    @property
    def gives_several(self) -> bool:
        """Whether the module gives several outputs (early exits), found by a trial."""
        return not isinstance(self._trial, Tensor | Exception)

    @cached_property
    def _trial(self) -> object:
        """What the untrained module gives for one example, or what it raises."""
        with torch.no_grad():
            return attempt(lambda: self._judge.eval()(self.inputs(self._example())))

    @property
    def cost(self) -> float:
        """MFLOP to train on one example: three times the forward pass, as PyTorch counts it.

        PyTorch counts products and convolutions, but not recurrent layers: so no less than six per parameter.
        """
        return max(3e-6 * self._forward_flops, super().cost)

    @cached_property
    def _forward_flops(self) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self._judge.eval()(self.inputs(self._example()))
        return counter.get_total_flops()

    @cached_property
    def _judge(self) -> nn.Module:
        """The module that evaluates, and that shows what the model is made of."""
        return self.untrained()

    def untrained(self) -> nn.Module:
        """A new module on the task's device, without disturbing PyTorch's random state."""
        with torch.random.fork_rng(devices=[]):
            return self.model().to(self.device)

    def pair(self) -> Tensor:
        """Two examples of the first device, as the model takes them; the same one twice if there are no two."""
        x = self.inputs(self.data.at(0).x[:2])
        return x if len(x) == 2 else x.repeat_interleave(2, 0)

    def _example(self) -> np.ndarray[Any, Any]:
        return self.data.at(0).x[:1]

    def initial(self, seed: int) -> Params:
        """The untrained model of that seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.layout.read(self.model())

    def engines(self) -> Mapping[str, type[Engine]]:
        """``loop`` is the reference."""
        from fogline.training.torch.engines import ENGINES  # Engines are written against this class.

        return ENGINES

    def inputs(self, x: np.ndarray[Any, Any]) -> Tensor:
        """Inputs as the model takes them: floating ones in its type, integers as int64."""
        return targets_type(torch.as_tensor(x, device=self.device), self.dtype)

    def targets(self, y: np.ndarray[Any, Any]) -> Tensor:
        """Targets as the loss takes them: classes as int64, numbers in the model's type."""
        tensor = torch.as_tensor(y, device=self.device)
        return tensor.long() if self.classifies else tensor.to(self.dtype)

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        """Sums over examples (or over the targets of sequences)."""
        module = self._judge.eval()
        self.layout.load(module, params.vector, params.counters)
        judge = judge_classes if self.classifies else judge_numbers
        sums: Sums = {}
        with torch.inference_mode():
            for start in range(0, len(examples.y), EVALUATION_BATCH):
                part = slice(start, start + EVALUATION_BATCH)
                outputs = module(self.inputs(examples.x[part]))
                for name, value in judge(outputs, self.targets(examples.y[part]), self.loss_function).items():
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
        return 2 if _trains(module, pair) and not _trains(module, pair[:1]) else 1

    def digest(self, method: LocalMethod) -> str | None:
        """Of a new module, as it is made now, the loss and the method."""
        from fogline.training.torch.fingerprint import digest_of  # Only where a comparison is remembered.

        return digest_of(self.untrained(), self.loss, str(self.device), type(method), vars(method))

    def array(self, vector: Vector) -> Tensor:
        """A vector as a tensor on the task's device."""
        return as_tensor(vector, self.device)

    def rehearsal(self, data: FederatedData) -> Self:
        """A twin on other data; where kernels do not draw what PyTorch's dropout draws, without dropout."""
        twin = super().rehearsal(data)
        if self.device.type != "cpu":
            twin.model = lambda: without_dropout(self.model())
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


def _trains(module: nn.Module, x: Tensor) -> bool:
    """Whether a module in training takes a batch and stays finite."""
    with own_draws(0), torch.no_grad():
        outputs = attempt(lambda: module(x))
    numbers = [n for n in (outputs, *module.buffers()) if isinstance(n, Tensor)]
    return not isinstance(outputs, Exception) and all(bool(n.isfinite().all()) for n in numbers)


def without_dropout(module: nn.Module) -> nn.Module:
    """The module, whose dropout layers keep everything."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return module

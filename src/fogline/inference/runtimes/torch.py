"""Modules in PyTorch: for models that cannot be exported. The node needs the task's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, cast

import torch

from fogline.data.inputs import mapped
from fogline.inference.card import Card
from fogline.inference.runtimes.base import Array, Locate, ModelError, Run
from fogline.inference.runtimes.files import arrays_of
from fogline.inference.runtimes.outputs import Given, named
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.loading import load_task
from fogline.training.torch import TorchTask
from fogline.training.torch.failure import attempt
from fogline.training.torch.layout import named_tensors
from fogline.training.torch.outputs.answers import part_of


class TorchRuntime:
    """The module of a task, on the CPU.

    Args:
        card: of the version; ``card.code`` names the task.
        locate: where its files lie.
        code: the folder with the task's code.
        threads: that one call may use; PyTorch has one such setting for the whole process, and the last one counts.

    Raises:
        ModelError: the card names no code or there is none here, it gives no PyTorch task, or the weights do not fit.
    """

    def __init__(self, card: Card, locate: Locate, code: Path | None, threads: int = 1) -> None:
        self.name = "torch"
        self.stages: Sequence[Run] = ()
        if card.code is None or card.weights is None:
            raise ModelError(f"Model '{card.model}' names no PyTorch module.")
        if code is None:
            raise ModelError(f"Model '{card.model}' needs the code of task '{card.code.task}'; give its folder.")
        try:
            task = load_task(Job(task=card.code.task, task_parameters=card.code.parameters, seed=card.code.seed), code)
        except JobError as error:
            raise ModelError(f"Model '{card.model}' cannot be loaded: {error}.") from error
        if not isinstance(task, TorchTask):
            raise ModelError(f"Task '{card.code.task}' is a {type(task).__name__}; only PyTorch's are run from code.")
        torch.set_num_threads(threads)
        module = _loaded(task, arrays_of(card.weights, locate, "weights"))
        self._module: torch.nn.Module | None = module
        self._inputs = [tensor.name for tensor in card.inputs]
        self._by_name = len(self._inputs) > 1 and takes_by_name(module, self._inputs)
        self._outputs, self._units = card.outputs, card.units

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See :class:`fogline.inference.runtimes.base.Runtime`."""
        if self._module is None:
            raise ModelError("The model is closed.")
        missing = [name for name in self._inputs if name not in inputs]
        if missing:
            raise ModelError(f"Input '{missing[0]}' is missing.")
        given = {name: inputs[name] for name in self._inputs}
        outputs = answers(self._module, given if self._by_name else tuple(given.values()))
        return named(outputs, [tensor.name for tensor in self._outputs], self._units)

    def close(self) -> None:
        """Let go of its memory, once the calls under way are done."""
        self._module = None


def takes_by_name(module: torch.nn.Module, names: Sequence[str]) -> bool:
    """Whether a module has arguments of these names."""
    known = signature(module.forward).parameters
    return set(names) <= set(known) or any(p.kind is p.VAR_KEYWORD for p in known.values())


def answers(module: torch.nn.Module, x: tuple[Array, ...] | dict[str, Array]) -> Given:
    """What a module gives for a batch, as arrays; of an object with ``logits``, these.

    Args:
        module: in evaluation mode.
        x: its arguments, or those by name.

    Raises:
        ModelError: it raises, or gives something else than tensors.
    """

    def call() -> Any:
        given: Any = mapped(torch.tensor, x)
        with torch.inference_mode():
            outputs = module(**given) if isinstance(given, dict) else module(*given)
        logits = part_of(outputs, "logits")
        return outputs if logits is None else logits

    outputs = attempt(call)
    match outputs:
        case Exception():
            reason = (str(outputs).strip().splitlines() or [type(outputs).__name__])[0].rstrip(".")
            raise ModelError(f"PyTorch cannot run the model: {reason}.") from outputs
        case torch.Tensor():
            return _array(outputs)
        case dict():
            return {str(name): _array(value) for name, value in cast("dict[Any, object]", outputs).items()}
        case tuple() | list():
            return tuple(map(_array, cast("list[object]", outputs)))
        case _:
            raise ModelError(f"The module gives a {type(outputs).__name__}; a served model gives tensors.")


def _array(value: object) -> Array:
    if not isinstance(value, torch.Tensor) or value.dtype == torch.bfloat16:
        what = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ModelError(f"The module gives an output of {what}; a served model gives tensors that numpy can hold.")
    return value.numpy()


def _loaded(task: TorchTask, weights: Mapping[str, Array]) -> torch.nn.Module:
    module = task.as_served(task.untrained().cpu().eval())
    tensors = named_tensors(module)
    for name, tensor in tensors.items():
        have = weights.get(name)
        if have is None or have.shape != tuple(tensor.shape):
            here = "do not hold it" if have is None else f"have it as {list(have.shape)}"
            raise ModelError(f"The module has tensor '{name}' as {list(tensor.shape)}; the weights {here}.")
        with torch.no_grad():
            tensor.copy_(torch.tensor(have))
    return module

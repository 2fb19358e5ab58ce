"""PyTorch models: how they run, how they are exported, and which of them are plain layers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, ClassVar, cast

import onnx_ir
import torch
from onnx import ModelProto
from torch import nn

from fogline.data.inputs import Inputs, arrays_of, count, rows
from fogline.inference.card import Activation, Dense, Tensor, Units
from fogline.inference.packaging.graphs import ELSEWHERE, scaled, tidied
from fogline.inference.packaging.original import INPUT, OUTPUT, ExportError, tensor_of
from fogline.inference.runtimes.base import Array, ModelError
from fogline.inference.runtimes.outputs import Given, named
from fogline.inference.runtimes.torch import answers
from fogline.params import Params
from fogline.training.torch import TorchTask
from fogline.training.torch.failure import attempt
from fogline.training.torch.kernels.trace import calls_of
from fogline.training.torch.layout import as_tensor, named_tensors
from fogline.training.torch.outputs.answers import part_of

ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
SILENT = (nn.Flatten, nn.Identity, nn.Dropout)
"""Layers that change no number of an example when the model is not training."""


class TorchOriginal:
    """The module of a task, on the CPU, in evaluation mode; its tensors are the params', without a copy."""

    def __init__(self, task: TorchTask, params: Params, names: Sequence[str], units: Units | None) -> None:
        self._task, self._units, self._names = task, units, set(params.spec.slices)
        self._module = _with_weights(task, params)
        self._example = _two(task)
        self._takes = _inputs(self._module, self._example)
        x = self.feed(self._example)
        given = self._answers(x)
        self._order = _names(given, names)
        self.inputs: tuple[Tensor, ...] = tuple(tensor_of(name, array) for name, array in x.items())
        arrays = named(given, self._order, None)
        self.outputs: tuple[Tensor, ...] = tuple(tensor_of(name, array) for name, array in arrays.items())
        for name, array in arrays.items():
            if not array.ndim or len(array) != count(self._example):
                raise ModelError(f"Output '{name}' has shape {list(array.shape)}; its first axis must be the batch.")
        single = len(arrays) == len(self.inputs) == 1
        self.dense: tuple[Dense, ...] = _dense(self._module, self.inputs[0]) if single else ()

    def feed(self, x: Inputs) -> dict[str, Array]:
        """See :class:`fogline.inference.packaging.original.Original`."""
        tensors = [tensor.cpu() for tensor in arrays_of(self._task.arguments(x))]
        if any(tensor.dtype == torch.bfloat16 for tensor in tensors):
            raise ModelError("The model takes bfloat16, which no client can send; give it float32 inputs.")
        return dict(zip(self._takes, (tensor.numpy() for tensor in tensors), strict=True))

    def _answers(self, x: dict[str, Array]) -> Given:
        return answers(self._module, x if isinstance(self._example, dict) else tuple(x.values()))

    def run(self, x: Inputs) -> dict[str, Array]:
        """See :class:`fogline.inference.packaging.original.Original`."""
        return named(self._answers(self.feed(x)), self._order, self._units)

    def graph(self) -> ModelProto:
        """See :class:`fogline.inference.packaging.original.Original`."""
        given = self.feed(self._example)
        by_name = isinstance(self._example, dict)
        example = _in_order(self._module, given) if by_name else {n: torch.tensor(array) for n, array in given.items()}
        module = Answering(self._module) if self._task.gives_logits else self._module
        with _quiet():
            program = attempt(lambda: _export(module, example, self._order))
        if isinstance(program, Exception):
            reason = (str(program).strip().splitlines() or [type(program).__name__])[0].rstrip(".")
            raise ExportError(f"The model cannot be exported: {reason}.") from program
        for name, value in list(program.graph.initializers.items()):
            own = name.removeprefix(f"{Answering.INSIDE}.")
            if own in self._names:
                program.graph.initializers.pop(name)
                value.name = own
                value.const_value = _elsewhere(own, value.const_value)
                program.graph.initializers[own] = value
        model = tidied(onnx_ir.to_proto(program))
        return model if self._units is None else scaled(model, self._units)


def original(task: TorchTask, params: Params, names: Sequence[str], units: Units | None) -> TorchOriginal:
    """See :func:`fogline.inference.packaging.original.original_of`."""
    return TorchOriginal(task, params, names, units)


def _with_weights(task: TorchTask, params: Params) -> nn.Module:
    module = task.untrained().cpu().eval()
    tensors = named_tensors(module)
    for name, array in params.arrays().items():
        tensors[name].data = as_tensor(array, torch.device("cpu")).to(tensors[name].dtype)
    return module


def _two(task: TorchTask) -> Inputs:
    """Two examples: with one, the export would take the batch for a constant."""
    x = (task.data.test or task.data.at(0)).x
    return rows(x, [0, min(1, count(x) - 1)])


def _inputs(module: nn.Module, x: Inputs) -> list[str]:
    """What clients call the inputs: as the module does, where it takes several."""
    if isinstance(x, dict):
        return list(x)
    if not isinstance(x, tuple):
        return [INPUT]
    known = [name for name, p in signature(module.forward).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return known[: len(x)] if len(known) >= len(x) else [f"{INPUT}_{place}" for place in range(len(x))]


class Answering(nn.Module):
    """A module as it is exported: of an object with ``logits``, it gives these."""

    INSIDE: ClassVar[str] = "inside"

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.eval()

    def forward(self, *args: Any) -> Any:
        outputs = self.inside(*args)
        logits = part_of(outputs, "logits")
        return outputs if logits is None else logits


def _names(given: Any, names: Sequence[str]) -> list[str]:
    if isinstance(given, dict):
        return list(cast("dict[str, Array]", given))
    count = len(given) if isinstance(given, tuple) else 1
    if names and len(names) != count:
        raise ModelError(f"The module gives {count} outputs; {len(names)} names were given: {', '.join(names)}.")
    return list(names) or ([OUTPUT] if count == 1 else [f"{OUTPUT}_{place}" for place in range(count)])


def _export(module: nn.Module, example: dict[str, Any], names: list[str]) -> onnx_ir.Model:
    """``example`` has the inputs by name, in the order of the module's arguments; None for one that is left out."""
    batch = {0: torch.export.Dim("batch")}
    dims = tuple(None if tensor is None else batch for tensor in example.values())
    wrapped: Any = {"args": dims}
    program = torch.onnx.export(
        module,
        tuple(example.values()),
        dynamo=True,
        optimize=False,
        external_data=True,
        verbose=False,
        input_names=[name for name, tensor in example.items() if tensor is not None],
        output_names=names,
        dynamic_shapes=wrapped if isinstance(module, Answering) else dims,
    )
    assert program is not None
    return program.model


def _in_order(module: nn.Module, given: dict[str, Array]) -> dict[str, Any]:
    """Inputs by name in the order of the module's arguments, up to the last that is given."""
    order = list(signature(module.forward).parameters)
    if not set(given) <= set(order):
        raise ExportError(f"The model cannot be exported: its forward has no arguments named {', '.join(given)}.")
    last = max(order.index(name) for name in given)
    return {name: torch.tensor(given[name]) if name in given else None for name in order[: last + 1]}


def _elsewhere(name: str, tensor: Any) -> onnx_ir.ExternalTensor:
    return onnx_ir.ExternalTensor(ELSEWHERE, 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=name, base_dir="")


@contextmanager
def _quiet() -> Generator[None]:
    """The exporter tells of packages and of its own plans."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)


def _dense(module: nn.Module, x: Tensor) -> tuple[Dense, ...]:
    """The layers of a module that is a chain of linear layers; empty where it is anything else."""
    calls, names = calls_of(module), {id(tensor): name for name, tensor in named_tensors(module).items()}
    if calls is None or x.datatype != "FP32" or any(call.reads != [place] for place, call in enumerate(calls)):
        return ()
    rows, layers = len(x.shape) == 2, list[Dense]()
    for call in calls:
        layer = call.layer
        if type(layer) is nn.Flatten:
            if layer.start_dim != 1:
                return ()
            rows = rows or layer.end_dim == -1
        elif type(layer) is nn.Linear and rows:
            layers.append(Dense(names[id(layer.weight)], names.get(id(layer.bias), "")))
        elif type(layer) not in SILENT:
            last, activation = layers[-1:], _activation(layer)
            if not activation or not last or last[0].activation:
                return ()
            layers[-1] = Dense(last[0].weight, last[0].bias, activation)
    return tuple(layers)


def _activation(layer: nn.Module) -> Activation:
    if type(layer) is nn.Softmax:
        return "softmax" if layer.dim in (1, -1) else ""
    return ACTIVATIONS.get(type(layer), "")

"""PyTorch models: how they run, how they are exported, and which of them are plain layers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import onnx_ir
import torch
from onnx import ModelProto
from torch import nn

from fogline.inference.card import Activation, Dense, Tensor, Units
from fogline.inference.packaging.graphs import ELSEWHERE, scaled, tidied
from fogline.inference.packaging.original import INPUT, OUTPUT, ExportError, tensor_of
from fogline.inference.runtimes.base import Array, ModelError
from fogline.inference.runtimes.outputs import named
from fogline.inference.runtimes.torch import answers
from fogline.params import Params
from fogline.training.torch import TorchTask
from fogline.training.torch.failure import attempt
from fogline.training.torch.kernels.trace import calls_of
from fogline.training.torch.layout import as_tensor, named_tensors

ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
SILENT = (nn.Flatten, nn.Identity, nn.Dropout)
"""Layers that change no number of an example when the model is not training."""


class TorchOriginal:
    """The module of a task, on the CPU, in evaluation mode; its tensors are the params', without a copy."""

    def __init__(self, task: TorchTask, params: Params, names: Sequence[str], units: Units | None) -> None:
        self._task, self._units, self._names = task, units, set(params.spec.slices)
        self._module = _with_weights(task, params)
        self._example = _two(task)
        x = self.feed(self._example)
        given = answers(self._module, x)
        self._order = _names(given, names)
        self.input: Tensor = tensor_of(INPUT, x)
        arrays = named(given, self._order, None)
        self.outputs: tuple[Tensor, ...] = tuple(tensor_of(name, array) for name, array in arrays.items())
        for name, array in arrays.items():
            if not array.ndim or len(array) != len(x):
                raise ModelError(f"Output '{name}' has shape {list(array.shape)}; its first axis must be the batch.")
        self.dense: tuple[Dense, ...] = _dense(self._module, self.input) if len(arrays) == 1 else ()

    def feed(self, x: Array) -> Array:
        """See :class:`fogline.inference.packaging.original.Original`."""
        tensor = self._task.inputs(x).cpu()
        if tensor.dtype == torch.bfloat16:
            raise ModelError("The model takes bfloat16, which no client can send; give it float32 inputs.")
        return tensor.numpy()

    def run(self, x: Array) -> dict[str, Array]:
        """See :class:`fogline.inference.packaging.original.Original`."""
        return named(answers(self._module, self.feed(x)), self._order, self._units)

    def graph(self) -> ModelProto:
        """See :class:`fogline.inference.packaging.original.Original`."""
        example = torch.tensor(self.feed(self._example))
        with _quiet():
            program = attempt(lambda: _export(self._module, example, self._order))
        if isinstance(program, Exception):
            reason = (str(program).strip().splitlines() or [type(program).__name__])[0].rstrip(".")
            raise ExportError(f"The model cannot be exported: {reason}.") from program
        for name, value in program.graph.initializers.items():
            if name in self._names:
                value.const_value = _elsewhere(name, value.const_value)
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


def _two(task: TorchTask) -> Array:
    """Two examples: with one, the export would take the batch for a constant."""
    x = (task.data.test or task.data.at(0)).x
    return x[[0, min(1, len(x) - 1)]]


def _names(given: Any, names: Sequence[str]) -> list[str]:
    if isinstance(given, dict):
        return list(cast("dict[str, Array]", given))
    count = len(given) if isinstance(given, tuple) else 1
    if names and len(names) != count:
        raise ModelError(f"The module gives {count} outputs; {len(names)} names were given: {', '.join(names)}.")
    return list(names) or ([OUTPUT] if count == 1 else [f"{OUTPUT}_{place}" for place in range(count)])


def _export(module: nn.Module, example: torch.Tensor, names: list[str]) -> onnx_ir.Model:
    batch: Any = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        optimize=False,
        external_data=True,
        verbose=False,
        input_names=[INPUT],
        output_names=names,
        dynamic_shapes=batch,
    )
    assert program is not None
    return program.model


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
            rows = rows or (layer.start_dim == 1 and layer.end_dim == -1)
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

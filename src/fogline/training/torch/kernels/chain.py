"""Models that are chains of known layers, run by kernels without autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fogline.training.torch.failure import attempt
from fogline.training.torch.kernels.base import KERNELS, Context, Kernel
from fogline.training.torch.kernels.dense import Dropout, Linear
from fogline.training.torch.program import Program
from fogline.training.torch.task import TorchTask
from fogline.training.torch.updates import Sink

FUNCTIONS: dict[Any, type[nn.Module]] = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    F.tanh: nn.Tanh,
    torch.tanh: nn.Tanh,
    F.sigmoid: nn.Sigmoid,
    torch.sigmoid: nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
"""Functions (and tensor methods) of one tensor that a layer stands for."""


class Chain(Program):
    """Forward and backward through a list of kernels, for K devices at once."""

    def __init__(self, kernels: Sequence[Kernel], context: Context) -> None:
        self._kernels = kernels
        self._context = context
        self._drops = any(isinstance(k, Dropout) for k in kernels)
        self._last_linear = max((i for i, k in enumerate(kernels) if isinstance(k, Linear)), default=-1)
        self._first_weighted = next((i for i, k in enumerate(kernels) if k.places), len(kernels))
        self._weights: list[Tensor] = []

    @classmethod
    def of(cls, task: TorchTask, single: bool) -> Chain | None:
        """The task's model as a chain; None if it is none, or has layers without a kernel."""
        module = task.untrained().train()
        layers = _layers(module)
        if layers is None or task.layout.buffers or task.layout.integers:
            return None
        places = {id(p): i for i, p in enumerate(_trainable(task, module))}
        context = Context(single)
        kernels: list[Kernel] = []
        used: list[int] = []
        for layer in layers:
            kind = KERNELS.get(type(layer))
            if kind is None or not kind.takes(layer) or _has_hooks(layer):
                return None
            own = {name: places[id(p)] for name, p in layer.named_parameters()}
            used += own.values()
            kernels.append(kind(layer, own, context))
        # A tensor that two layers share, or none uses, is for autograd.
        return cls(kernels, context) if sorted(used) == list(range(len(places))) else None

    def begin(self, seeds: Sequence[int], weights: list[Tensor], buffers: dict[str, Tensor]) -> None:
        """Every device has its own generator, so that its dropout does not depend on its company."""
        if self._drops:
            device = weights[0].device
            self._context.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def forward(self, weights: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Layer by layer; the features are the input of the last linear layer."""
        self._weights = weights
        features, fresh = None, False
        for i, kernel in enumerate(self._kernels):
            if i == self._last_linear:
                features = x
            x = kernel.forward(x, weights, fresh)
            fresh = kernel.fresh
        return x, features

    def backward(self, outputs: Tensor, features: Tensor | None, sink: Sink) -> None:
        """Layer by layer, down to the first that has weights."""
        gradient: Tensor | None = outputs
        for i in range(len(self._kernels) - 1, self._first_weighted - 1, -1):
            assert gradient is not None
            gradient = self._kernels[i].backward(gradient, self._weights, sink, i > self._first_weighted)
            if i == self._last_linear and features is not None and gradient is not None:
                gradient = gradient + features


def _layers(module: nn.Module) -> list[nn.Module] | None:
    """The modules that a model calls one after the other; None if it is not such a chain."""
    graph = attempt(lambda: _Tracer().trace(module))
    if isinstance(graph, Exception):
        return None
    layers: list[nn.Module] = []
    previous: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "placeholder" and previous is None:
            previous = node
            continue
        if node.op == "output":
            return layers if node.args == (previous,) else None
        layer = _layer(module, node)
        if layer is None or node.all_input_nodes != [previous]:
            return None
        layers.append(layer)
        previous = node
    return None


def _layer(module: nn.Module, node: fx.Node) -> nn.Module | None:
    if node.op == "call_module":
        return module.get_submodule(str(node.target))
    plain = len(node.args) == 1 and not {k: v for k, v in node.kwargs.items() if k != "inplace"}
    if node.target in FUNCTIONS and plain:
        return FUNCTIONS[node.target]()
    flattens = node.target in (torch.flatten, "flatten")
    if flattens and (node.args[1:], dict(node.kwargs)) in (((1,), {}), ((), {"start_dim": 1})):
        return nn.Flatten()
    if node.target is F.max_pool2d and len(node.args) == 2:
        return _max_pool(node.args[1], node.kwargs)
    return None


def _max_pool(size: Any, options: dict[str, Any]) -> nn.Module | None:
    plain = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
    return nn.MaxPool2d(size) if all(plain.get(k) == v for k, v in options.items()) else None


class _Tracer(fx.Tracer):
    """Stops at layers that a kernel may know, and at PyTorch's own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in KERNELS or super().is_leaf_module(m, module_qualified_name)


def _has_hooks(layer: nn.Module) -> bool:
    return any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks))  # pyright: ignore[reportPrivateUsage]


def _trainable(task: TorchTask, module: nn.Module) -> list[Tensor]:
    tensors = dict(module.named_parameters())
    return [tensors[entry.name] for entry in task.layout.trainable]

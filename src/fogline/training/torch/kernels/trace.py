"""What a model calls: its forward pass as a list of layers and the values that they read."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fogline.training.torch.checking.side_effects import gradient_hooks_of, hooks_of, watched
from fogline.training.torch.failure import attempt
from fogline.training.torch.kernels.base import KERNELS
from fogline.training.torch.kernels.dense import Add

FUNCTIONS: dict[Any, type[nn.Module]] = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    F.tanh: nn.Tanh,
    torch.tanh: nn.Tanh,
    F.sigmoid: nn.Sigmoid,
    torch.sigmoid: nn.Sigmoid,
    F.gelu: nn.GELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
"""Functions (and tensor methods) of one tensor that a layer stands for."""

SUMS = (operator.add, operator.iadd, torch.add)


@dataclass(slots=True)
class LayerCall:
    """A layer at work. Value 0 is the model's input; the i-th call, counted from zero, makes value i + 1."""

    layer: nn.Module
    reads: list[int]
    parameters: dict[str, Tensor]
    """The layer's own, by name, and those that it is handed, by the place among its arguments."""
    inplace: bool


def calls_of(module: nn.Module) -> list[LayerCall] | None:
    """The calls of which the last makes the model's output; None if there is more to the model than calls.

    The forward pass is run once, and what it decides then is decided for good. So there must be nothing in it but
    calls: no hooks, no draws of random numbers, no attributes that change, no stretch without gradients.
    """
    if hooks_of(module) or gradient_hooks_of(module):
        return None
    with watched(module) as seen, torch.enable_grad():
        graph = attempt(lambda: _Tracer().trace(module))
    return None if isinstance(graph, Exception) or seen.what else _Reader(module).read(graph)


class _Reader:
    """Goes through a graph once."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._calls: list[LayerCall] = []
        self._values: dict[Any, int] = {}
        self._tuples: dict[Any, int] = {}
        self._given: dict[Any, Tensor] = {}

    def read(self, graph: fx.Graph) -> list[LayerCall] | None:
        """All calls, if all nodes could be read."""
        *nodes, output = graph.nodes
        whole = all(self._take(node) for node in nodes)
        if not whole or _overwrites(self._calls):
            return None
        read = {value for call in self._calls for value in call.reads}
        ends = self._values.get(output.args[0]) == len(self._calls) and read == set(range(len(self._calls)))
        return _pool_first(self._calls) if ends else None

    def _take(self, node: fx.Node) -> bool:
        """Whether it is known what the node does."""
        if node.op == "placeholder":
            self._values[node] = 0
            return len(self._values) == 1
        if node.op == "get_attr":
            self._given[node] = _parameter(self._module, str(node.target))
            return True
        if node.target is operator.getitem:
            return self._unpack(node)
        return self._call(node)

    def _unpack(self, node: fx.Node) -> bool:
        """The outputs of a recurrent layer; its last states may be unpacked, but not used."""
        source, place = node.args
        if source not in self._tuples:
            return False
        if place != 0:
            return not node.users
        self._values[node] = self._tuples[source]
        return True

    def _call(self, node: fx.Node) -> bool:
        layer, inputs = _layer(self._module, node), node.all_input_nodes
        reads = [self._values[i] for i in inputs if i in self._values]
        given = {str(place): self._given[i] for place, i in enumerate(inputs) if i in self._given}
        wanted = 2 if isinstance(layer, Add) else 1
        if layer is None or len(reads) != wanted or len(reads) + len(given) != len(inputs):
            return False
        inplace = node.target is operator.iadd or bool(node.kwargs.get("inplace", getattr(layer, "inplace", False)))
        self._calls.append(LayerCall(layer, reads, {**dict(layer.named_parameters()), **given}, inplace))
        results = self._tuples if isinstance(layer, nn.RNNBase) else self._values
        results[node] = len(self._calls)
        return True


def _overwrites(calls: list[LayerCall]) -> bool:
    """Whether a call changes, in place, a value that others read as well, as such or as a view."""
    uses = Counter(value for call in calls for value in call.reads)
    for call in calls:
        value = call.reads[0]
        while call.inplace:
            if uses[value] > 1:
                return True
            if value == 0 or not isinstance(calls[value - 1].layer, nn.Flatten | nn.Identity):
                break
            value = calls[value - 1].reads[0]
    return False


def _layer(module: nn.Module, node: fx.Node) -> nn.Module | None:
    if node.op == "call_module":
        plain = [*node.args, *node.kwargs.values()] == node.all_input_nodes
        return module.get_submodule(str(node.target)) if plain else None
    if node.target in SUMS and list(node.args) == node.all_input_nodes and not node.kwargs:
        return Add()
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


def _parameter(module: nn.Module, name: str) -> Tensor:
    owner, _, own = name.rpartition(".")
    return getattr(module.get_submodule(owner), own)


class _Tracer(fx.Tracer):
    """Stops at layers that a kernel may know, and at PyTorch's own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in KERNELS or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Only under the conditions that training sets: a graph does not remember others.

        Raises:
            ValueError: gradients are off here, or types are cast.
        """
        if not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise ValueError("A stretch of the forward pass runs without gradients, or in another type.")
        return super().create_node(*args, **kwargs)


def _pool_first(calls: list[LayerCall]) -> list[LayerCall]:
    """The maximum of rectified numbers is the rectified maximum, and rectifies a quarter as many."""
    readers = Counter(value for call in calls for value in call.reads)
    for i, (first, second) in enumerate(pairwise(calls)):
        swaps = type(first.layer) is nn.ReLU and type(second.layer) is nn.MaxPool2d
        if swaps and second.reads == [i + 1] and readers[i + 1] == 1:
            first.layer, second.layer = second.layer, first.layer
    return calls

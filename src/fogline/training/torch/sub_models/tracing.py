"""Which width of a module feeds which: the module runs once on two examples, and every tensor's axes are followed."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from fogline.training.torch.sub_models.axes import UncuttableError, Width, axis_of, fix, stays
from fogline.training.torch.sub_models.layers import layer_rule
from fogline.training.torch.sub_models.operations import operation_rule
from fogline.training.torch.sub_models.traced import Traced, WidthTable, as_it_is, each
from fogline.user_code.bugs import attempt


class WidthTracer(fx.Interpreter):
    """Runs a module's operations, and finds what the axes of every result are.

    Args:
        graph: the operations.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # What goes wrong is told in a sentence.
        self.table = WidthTable()
        self._seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation."""
        result = super().run_node(n)
        args, kwargs = fx.map_arg((n.args, n.kwargs), lambda node: self._seen[node])
        found = attempt(lambda: self._axes(n, args, kwargs, result))
        if isinstance(found, UncuttableError):
            raise UncuttableError(f"{self._name(n)}: {found}") from found
        if isinstance(found, Exception):
            raise found
        self._seen[n] = found
        return result

    def _axes(self, node: fx.Node, args: Any, kwargs: Any, result: Any) -> Any:
        match node.op:
            case "placeholder":
                return as_it_is(result)
            case "output":
                return each(args, fix)
            case "get_attr":
                return self._parameter(result)
            case "call_module":
                layer = self.fetch_attr(str(node.target))
                return layer_rule(layer)(self.table, str(node.target), layer, args, kwargs, result)
            case _:
                name = node.target if isinstance(node.target, str) else cast("Any", node.target).__name__
                return operation_rule(name, args, kwargs, result)

    def _parameter(self, tensor: Any) -> Any:
        """A parameter that the model uses by itself: each of its axes is a width until it meets another."""
        if not isinstance(tensor, Tensor):
            return tensor
        axes = [stays(size) if size <= 1 else axis_of(Width(size)) for size in tensor.shape]
        return Traced(tensor, tuple(self.table.own(tensor, *axes)))

    def _name(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"layer '{node.target}' ({type(self.fetch_attr(str(node.target))).__name__})"
        return f"operation '{node.name}'"


def trace(module: nn.Module, x: Any) -> WidthTable:
    """Follow the widths of a module.

    Args:
        module: a new one.
        x: two examples as it takes them: a tensor, a tuple of arguments, or a dict of them by name.

    Raises:
        UncuttableError: what it does with some width is not known, or its operations are not known beforehand.
    """
    graph = graph_of(module.eval())
    places = [node for node in graph.graph.nodes if node.op == "placeholder"]
    if isinstance(x, dict):
        named = cast("dict[str, Tensor]", x)
        x = tuple(named.get(str(node.target), node.args[0] if node.args else None) for node in places)
    tracer = WidthTracer(graph)
    with torch.no_grad():
        tracer.run(*(x if isinstance(x, tuple) else (x,)))
    return tracer.table


def graph_of(module: nn.Module) -> fx.GraphModule:
    """The operations of a module.

    Raises:
        UncuttableError: they depend on the numbers that come in, or on what cannot be followed.
    """
    graph = attempt(lambda: fx.symbolic_trace(module))
    if isinstance(graph, Exception):
        why = (str(graph).strip().splitlines() or [type(graph).__name__])[0].rstrip(".")
        raise UncuttableError(f"the operations of {type(module).__name__} cannot be told beforehand: {why}") from graph
    return graph

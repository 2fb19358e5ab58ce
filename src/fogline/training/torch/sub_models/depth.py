"""A module that gives the first of its outputs only."""

from __future__ import annotations

from typing import Any, cast

from torch import fx, nn

from fogline.training.torch.sub_models.axes import UncuttableError
from fogline.training.torch.sub_models.tracing import graph_of


def first_outputs(module: nn.Module, exits: int) -> fx.GraphModule:
    """The module's operations without those that only later outputs rest on, and without their layers.

    Layers stand in the order in which the module has them, so that numbers lie in the order of the whole model's.

    Raises:
        UncuttableError: its operations are not known beforehand, or it gives no row of outputs.
    """
    graph = graph_of(module.train())
    (output,) = [node for node in graph.graph.nodes if node.op == "output"]
    (given,) = output.args
    if isinstance(given, dict):
        kept: Any = dict(list(cast("dict[str, Any]", given).items())[:exits])
    elif isinstance(given, tuple | list):
        kept = type(given)(list(cast("list[Any]", given))[:exits])
    else:
        raise UncuttableError(f"{type(module).__name__} gives its outputs in no tuple, list or dict")
    output.args = (kept,)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name, _ in [*graph.named_parameters(recurse=False), *graph.named_buffers(recurse=False)]:
        if name not in used:
            delattr(graph, name)
    _in_order(graph, module)
    graph.recompile()
    return graph


def _in_order(graph: nn.Module, module: nn.Module) -> None:
    """Layers and parameters in the order of the module."""
    modules = graph._modules, module._modules  # pyright: ignore[reportPrivateUsage] - there is no other way to sort them
    parameters = graph._parameters, module._parameters  # pyright: ignore[reportPrivateUsage]
    for kept, whole in (modules, parameters):
        ordered = {name: kept[name] for name in whole if name in kept}
        kept.clear()
        cast("dict[str, Any]", kept).update(ordered)
    for name, part in graph.named_children():
        if type(part) is nn.Module:  # What stands for a module whose operations were followed.
            _in_order(part, module.get_submodule(name))

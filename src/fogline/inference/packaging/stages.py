"""A graph in parts, one for each early exit.

A part computes what its exit needs beyond the parts before it. What it takes from them has one row for each example, so
that it can be run for some of the examples only; whatever else it needs (a shape, a constant) it computes once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, ModelProto, ValueInfoProto, helper

from fogline.inference.packaging.graphs import filled
from fogline.inference.runtimes.base import Array
from fogline.inference.runtimes.onnx import FAILURES

LARGEST = 2**31 - 2**24
"""Bytes of weights that a graph which holds them can have."""
PROBES = (2, 3)
"""Examples at a time; a tensor whose first axis follows both has a row for each example."""


class StagesError(ValueError):
    """A graph cannot be cut; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class _Part:
    nodes: list[int]
    """Places in the graph, rising: they are in an order in which they can run."""
    takes: set[str]
    """Inputs of the model, and tensors of the parts before it."""


def stages_of(
    graph: bytes, weights: Mapping[str, Array], inputs: Mapping[str, Array], exits: Sequence[str]
) -> list[bytes]:
    """The parts, in the order of the exits.

    Args:
        graph: ONNX; its external weights stay external.
        weights: of it.
        inputs: a few examples, by the names of the inputs.
        exits: names of outputs, cheapest first.

    Raises:
        StagesError: it has branches or loops, or cannot be run as it would have to be to see what can be cut.
    """
    if sum(array.nbytes for array in weights.values()) > LARGEST:
        raise StagesError("The model is too large to be cut into stages; 2 GB are the most.")
    model = onnx.load_model_from_string(graph)
    if any(attribute.type == AttributeProto.GRAPH for node in model.graph.node for attribute in node.attribute):
        raise StagesError("The graph has branches or loops, so it cannot be cut into stages.")
    kinds = _by_rows(filled(graph, weights), inputs)
    parts = _parts(model, exits, set(kinds))
    taken = {name for part in parts for name in part.takes} | {output.name for output in model.graph.output}
    infos = {value.name: value for value in (*model.graph.input, *model.graph.output)}
    infos |= {
        name: helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items() if name not in infos
    }
    made, found = set[str](), list[bytes]()
    for part, name in zip(parts, exits, strict=True):
        computed = {output for place in part.nodes for output in model.graph.node[place].output}
        gives = [name, *sorted((computed & taken) - made - {name})]
        made |= computed
        cut = _cut(model, part.nodes, [infos[n] for n in sorted(part.takes)], [infos[n] for n in gives])
        found.append(cut.SerializeToString(deterministic=True))
    return found


def _by_rows(model: ModelProto, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Tensors within a graph that have a row for each example, and ONNX's numbers of their types."""
    known = {output.name for output in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        few, more = (
            session.run(names, {name: np.resize(array, (count, *array.shape[1:])) for name, array in inputs.items()})
            for count in PROBES
        )
    except FAILURES as error:
        raise StagesError(f"The graph cannot be cut into stages: {error}.") from error
    return {
        name: helper.np_dtype_to_tensor_dtype(one.dtype)
        for name, one, other in zip(names, few, more, strict=True)
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
        if (one.shape[:1], other.shape[:1]) == ((PROBES[0],), (PROBES[1],))
    }


def _parts(model: ModelProto, exits: Sequence[str], by_rows: set[str]) -> list[_Part]:
    """For each exit the nodes that it needs, walking back from it to what is there already.

    With the last one come the outputs that are no exits.
    """
    maker = {output: place for place, node in enumerate(model.graph.node) for output in node.output}
    given = {value.name for value in model.graph.input}
    there, parts = set[str](), list[_Part]()
    others = [output.name for output in model.graph.output if output.name not in exits]
    for place, name in enumerate(exits, start=1):
        if name in there:
            raise StagesError(f"Exit '{name}' is computed on the way to the one before it; name the cheapest first.")
        nodes, takes = set[int](), set[str]()
        wanted = [name, *others] if place == len(exits) else [name]
        while wanted:
            tensor = wanted.pop()
            if tensor in given or tensor in there:
                takes.add(tensor)
            elif tensor in maker and maker[tensor] not in nodes:
                nodes.add(maker[tensor])
                wanted += model.graph.node[maker[tensor]].input
        parts.append(_Part(sorted(nodes), takes))
        there |= {output for place in nodes for output in model.graph.node[place].output} & by_rows
    return parts


def _cut(
    model: ModelProto, nodes: Sequence[int], inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    """The model with some of its nodes only."""
    part = ModelProto()
    part.CopyFrom(model)
    part.graph.ClearField("node")
    part.graph.node.extend(model.graph.node[place] for place in nodes)
    needed = {name for node in part.graph.node for name in node.input}
    part.graph.ClearField("initializer")
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    part.graph.ClearField("input")
    part.graph.input.extend(inputs)
    part.graph.ClearField("output")
    part.graph.output.extend(outputs)
    return part

"""ONNX graphs as they are published: small, the same bytes for the same model, and without a weight in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fogline.inference.card import Units
from fogline.inference.runtimes.base import Array

ELSEWHERE = "weights"
"""Where external tensors are said to lie; the runtime binds them and looks at no such file."""
RAW = "/raw"


def external(name: str, dtype: int, shape: Iterable[int]) -> TensorProto:
    """An initialiser whose numbers are in the weights; ``dtype`` is ONNX's number."""
    dims = list(shape)
    tensor = TensorProto(name=name, data_type=dtype, dims=dims, data_location=TensorProto.EXTERNAL)
    size = int(np.prod(dims)) * helper.tensor_dtype_to_np_dtype(dtype).itemsize
    for key, value in (("location", ELSEWHERE), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def tidied(model: ModelProto) -> ModelProto:
    """Without what tells of the machine and the code that it was made by, and of values on the way."""
    for part in (model, model.graph, *model.graph.node):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("value_info")
    return model


def scaled(model: ModelProto, units: Units) -> ModelProto:
    """With its floating outputs in people's units."""
    for output in model.graph.output:
        kind = output.type.tensor_type.elem_type
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        if dtype.kind != "f":
            continue
        name, raw = output.name, output.name + RAW
        for node in model.graph.node:
            _rename(node, name, raw)
        for role, value in (("scale", units.scale), ("offset", units.offset)):
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), f"{name}/{role}"))
        model.graph.node.append(helper.make_node("Mul", [raw, f"{name}/scale"], [f"{raw}/scaled"]))
        model.graph.node.append(helper.make_node("Add", [f"{raw}/scaled", f"{name}/offset"], [name]))
    return model


def filled(model: bytes, weights: Mapping[str, Array]) -> ModelProto:
    """With the weights in it."""
    whole = onnx.load_model_from_string(model)
    for tensor in whole.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return whole


def halved(model: ModelProto) -> ModelProto:
    """With weights in half precision, which are widened as the model is loaded: half the bytes, the same products."""
    graph = model.graph
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim == 0:
            continue
        half = f"{tensor.name}/half"
        # The node that widens comes first: the nodes of a graph stand in the order in which they can run.
        graph.node.insert(0, helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
    return model


def _rename(node: NodeProto, old: str, new: str) -> None:
    for names in (node.input, node.output):
        for place, name in enumerate(names):
            if name == old:
                names[place] = new

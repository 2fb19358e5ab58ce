"""Models in ONNX Runtime, and cards for bare ONNX files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native  # pyright: ignore[reportAttributeAccessIssue]

from fogline.inference.card import Asset, Card, Datatype, Tensor
from fogline.inference.runtimes.base import NUMPY, Array, Locate, ModelError, Run
from fogline.inference.runtimes.files import arrays_of
from fogline.inference.runtimes.initializers import ExternalTensor, wanted
from fogline.inference.runtimes.lookups import looked_up

TYPES: Mapping[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""What ONNX Runtime calls the datatypes."""

SIGNED = ("INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
"""Datatypes of inputs that may be places in a table, be it that a graph casts them first, and may be negative."""
NOWHERE = "/nonexistent"
"""Where graphs may look for numbers that nobody bound: a file beside the model, or in the working folder, is not ours
to read."""
NONE: Mapping[str, Array] = {}
SILENT = 4
NOISE = tuple(
    re.compile(pattern)
    for pattern in (
        r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
        r"^Load model from .* failed: ?",
        r"^Non-zero status code returned while running \w+ node\. Name:'[^']*' Status Message: ",
        r"\S+\.(?:cc|h):\d+ (?:[^\"]*?\)(?: const)? (?=\w))?",
    )
)
"""In what ONNX Runtime says: where in its own code, and what is known already."""
FAILURES = (
    *(kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    TypeError,
    ValueError,
)
"""What ONNX Runtime raises; its own exceptions have no common base."""

onnxruntime.set_default_logger_severity(SILENT)
onnxruntime.disable_telemetry_events()


class OnnxRuntime:
    """A graph in ONNX Runtime.

    Args:
        card: of the version.
        locate: where its files lie.
        threads: that one call may use.
        variant: name of the variant that is opened; empty: the model in full precision.
        staged: whether the model is opened in stages, as its early exits need them.

    Raises:
        ModelError: the card has no such graph, or the graph cannot be loaded, or does not fit the weights or the card.
    """

    def __init__(self, card: Card, locate: Locate, threads: int = 1, variant: str = "", staged: bool = False) -> None:
        self.name = "staged" if staged else f"onnx/{variant}" if variant else "onnx"
        weights = arrays_of(card.weights, locate, "weights") if card.weights and not variant else {}
        self._outputs = [tensor.name for tensor in card.outputs]
        graphs = card.exits.stages if staged and card.exits is not None else (_graph(card, variant),)
        self._parts = [_Part(locate(one), weights, threads, () if staged else self._outputs) for one in graphs]
        _compare(card, self._parts)
        self.stages: Sequence[Run] = (
            [partial(self._stage, place) for place in range(len(self._parts))] if staged else ()
        )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See :class:`fogline.inference.runtimes.base.Runtime`."""
        if not self.stages:
            return self._stage(0, inputs)
        values = dict(inputs)
        for stage in self.stages:
            values |= stage(values)
        return {name: values[name] for name in self._outputs}

    def close(self) -> None:
        """Let go of its memory, once the calls under way are done."""
        self._parts = []

    def _stage(self, place: int, values: Mapping[str, Array]) -> dict[str, Array]:
        parts = self._parts
        if not parts:
            raise ModelError("The model is closed.")
        return parts[place].run(values)


class _Part:
    """A graph, or a part of one; ``outputs``: those that are wanted, if not all."""

    def __init__(self, path: Path, weights: Mapping[str, Array], threads: int, outputs: Sequence[str]) -> None:
        self._session = _opened(path, weights, threads)
        self.takes = _types(self._session.get_inputs())
        self.gives = _types(self._session.get_outputs())
        self._names = list(outputs or self.gives)
        signed = {name for name, kind in self.takes.items() if kind in SIGNED}
        self._places = signed & looked_up(path) if signed else signed
        self._texts = {name for name, kind in (self.takes | self.gives).items() if kind == "BYTES"}

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """What it gives; of the values it takes those that it knows."""
        if len(values) > len(self.takes):
            values = {name: array for name, array in values.items() if name in self.takes}
        for name in self._places:
            if name in values and values[name].min(initial=0) <= -1:  # Above it a fraction is cast to 0.
                raise ModelError(f"Input '{name}' has a negative number, which is no place in the table of the model.")
        try:
            if self._texts:
                values = {name: _to_text(array) if name in self._texts else array for name, array in values.items()}
            arrays = cast("list[Array]", self._session.run(self._names, values))
        except FAILURES as error:
            raise ModelError(f"ONNX Runtime cannot run the model: {_reason(error)}.") from error
        outputs = dict(zip(self._names, arrays, strict=True))
        return outputs if not self._texts else {n: _to_bytes(a) if n in self._texts else a for n, a in outputs.items()}


def _graph(card: Card, variant: str) -> Asset:
    graph = card.graph if not variant else next((v.graph for v in card.variants if v.name == variant), None)
    if graph is None:
        raise ModelError(f"Model '{card.model}' has no graph{f' in {variant}' if variant else ''}.")
    return graph


def card_of_onnx(path: Path, weights: Mapping[str, Array] = NONE) -> Card:
    """A card for an ONNX file; the model is called like the file.

    Outputs that are no tensors (maps of some converters) are left out.

    Args:
        path: of the file.
        weights: that are not in it; the card names no file for them.

    Raises:
        ModelError: it cannot be loaded, or has inputs or outputs that no server can take or give.
    """
    session = _opened(path, weights, 1)
    inputs = session.get_inputs()
    outputs = [node for node in session.get_outputs() if node.type in TYPES]
    strange = [node for node in inputs if node.type not in TYPES]
    if strange or not inputs or not outputs:
        what = f"its input '{strange[0].name}' is a {strange[0].type}" if strange else "it has no tensors in or out"
        raise ModelError(f"{path.name} cannot be served: {what}.")
    from fogline.storage.files import hash_file  # The server of a node has no need of the storage room.

    digest, size = hash_file(path)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("._-")[:63].rstrip("._-")
    return Card(
        model=name or "model",
        created=path.stat().st_mtime,
        inputs=tuple(map(_tensor, inputs)),
        outputs=tuple(map(_tensor, outputs)),
        graph=Asset(digest, size),
    )


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
    return options


def _opened(path: Path, weights: Mapping[str, Array], threads: int) -> onnxruntime.InferenceSession:
    options = _options(threads)
    bound = _bound(path, weights) if weights else {}
    if bound:
        options.add_external_initializers(list(bound), list(bound.values()))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except FAILURES as error:
        raise ModelError(f"ONNX Runtime cannot load the model: {_reason(error)}.") from error


def _types(nodes: Sequence[Any]) -> dict[str, str]:
    return {node.name: TYPES.get(node.type, node.type) for node in nodes}


def _bound(graph: Path, weights: Mapping[str, Array]) -> dict[str, onnxruntime.OrtValue]:
    """What the graph takes from the weights; ONNX Runtime copies it while it loads."""
    try:
        needs = wanted(graph.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"The graph cannot be read: {error}.") from error
    for name, need in needs.items():
        _fits(name, need, weights.get(name))
    return {name: onnxruntime.OrtValue.ortvalue_from_numpy(weights[name]) for name in needs}


def _fits(name: str, need: ExternalTensor, have: Array | None) -> None:
    if have is None:
        raise ModelError(f"The graph takes tensor '{name}' from the weights, which do not hold it.")
    if (have.dtype, have.shape) != (need.dtype, need.shape):
        raise ModelError(
            f"Tensor '{name}' is {have.dtype} {list(have.shape)} in the weights; the graph takes "
            f"{need.dtype} {list(need.shape)}: they are of different models."
        )


def _compare(card: Card, parts: Sequence[_Part]) -> None:
    """Names and types of the graph must be those of the card; what one part takes from another must fit."""
    inputs, made = dict[str, str](), dict[str, str]()
    for part in parts:
        for name, kind in part.takes.items():
            if made.get(name, kind) != kind:
                raise ModelError(f"A stage of the model takes '{name}' as {kind}; the one before gives {made[name]}.")
            if name not in made:
                inputs[name] = kind
        made |= part.gives
    for what, tensors, types in (("input", card.inputs, inputs), ("output", card.outputs, made)):
        for tensor in tensors:
            if types.get(tensor.name) != tensor.datatype:
                here = types.get(tensor.name, "nothing of that name")
                raise ModelError(f"The card has {what} '{tensor.name}' as {tensor.datatype}; the graph has {here}.")
        unknown = sorted(set(types) - {tensor.name for tensor in tensors})
        if what == "input" and unknown:
            raise ModelError(f"The graph has input '{unknown[0]}', of which the card knows nothing.")


def _tensor(node: Any) -> Tensor:
    return Tensor(node.name, TYPES[node.type], tuple(size if isinstance(size, int) else -1 for size in node.shape))


def _to_text(array: Array) -> Array:
    """ONNX Runtime takes texts as ``str``."""
    try:
        return np.array([bytes(item).decode() for item in array.ravel()], NUMPY["BYTES"]).reshape(array.shape)
    except UnicodeDecodeError as error:
        raise ModelError(f"It takes texts in UTF-8, and {error.object[:20]!r} is none.") from error


def _to_bytes(array: Array) -> Array:
    return np.array([item.encode() for item in array.ravel()], NUMPY["BYTES"]).reshape(array.shape)


def _reason(error: Exception) -> str:
    """The part of its text that is for people."""
    text = str(error).strip().split("\n")[0]
    for of_no_use in NOISE:
        text = of_no_use.sub("", text)
    return text.rstrip(". ") or type(error).__name__

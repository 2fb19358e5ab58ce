"""Versions made by hand: good ones, cheaply, and bad ones of every kind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fogline.codecs.deltas import encode
from fogline.inference.card import Asset, Card, Dense, Scores, Tensor, WeightsDelta
from fogline.params import Entry, Params, Spec, load, save
from fogline.params.files import save_arrays
from fogline.storage.files import hash_file

FEATURES, HIDDEN, CLASSES = 16, 512, 4
RNG = np.random.default_rng(3)
X = RNG.normal(size=(32, FEATURES)).astype(np.float32)
WEIGHTS = {
    "w1": RNG.normal(size=(HIDDEN, FEATURES)).astype(np.float32),
    "b1": np.zeros(HIDDEN, np.float32),
    "w2": RNG.normal(size=(CLASSES, HIDDEN)).astype(np.float32),
    "b2": np.zeros(CLASSES, np.float32),
}
Weights = dict[str, np.ndarray]
IN, OUT = "x", "y"


@dataclass
class Crafted:
    """A version that is not published yet."""

    card: Card
    files: dict[str, Path]


def answers(weights: Weights, x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(x @ weights["w1"].T + weights["b1"], 0)
    return hidden @ weights["w2"].T + weights["b2"]


def moved(by: float, scale: float = 1.0, turn: int = 0) -> Weights:
    """Other weights: a little moved, less sure (``scale``), or with other classes (``turn``)."""
    w2, b2 = WEIGHTS["w2"] * np.float32(scale), WEIGHTS["b2"] + np.float32(by)
    return WEIGHTS | {"w2": np.roll(w2, turn, axis=0), "b2": np.roll(b2, turn)}


def crafted(
    folder: Path,
    weights: Weights = WEIGHTS,
    base: Path | None = None,
    golden: Callable[[np.ndarray], np.ndarray] | None = None,
    graph: bytes = b"",
    raw: bytes = b"",
    **facts: Any,
) -> Crafted:
    """A version of the model ``digits``.

    Args:
        folder: for its files; new.
        weights: of a plain network of two layers.
        base: the weights file to which the weights are published as a difference too.
        golden: what it is said to answer; None: what it does.
        graph: the whole model as ONNX instead.
        raw: bytes of the weights file instead.
        facts: of the card.
    """
    folder.mkdir(parents=True)
    files: dict[str, Path] = {}

    def asset(path: Path) -> Asset:
        digest, size = hash_file(path)
        files[digest] = path
        return Asset(digest, size)

    right = answers(weights, X[:8]) if golden is None else golden(X[:8])
    save_arrays(folder / "golden", {f"input/{IN}": X[:8], f"output/{OUT}": right.astype(np.float32)})
    card = Card(
        model="digits",
        created=time.time(),
        inputs=(Tensor(IN, "FP32", (-1, FEATURES)),),
        outputs=(Tensor(OUT, "FP32", (-1, CLASSES)),),
        golden=asset(folder / "golden"),
        scores=Scores(OUT),
    )
    if graph:
        (folder / "graph").write_bytes(graph)
        return Crafted(replace(card, graph=asset(folder / "graph"), **facts), files)
    spec = Spec.of(Entry(name, array.shape, "float32") for name, array in weights.items())
    params = Params.from_arrays(spec, weights)
    save(folder / "weights", params)
    if raw:
        (folder / "weights").write_bytes(raw)
    card = replace(card, weights=asset(folder / "weights"), dense=(Dense("w1", "b1", "relu"), Dense("w2", "b2")))
    if base is not None:
        made = encode("lossless", load(base), params)
        (folder / "delta").write_bytes(made.payload)
        digest, _ = hash_file(base)
        card = replace(card, deltas=(WeightsDelta("lossless", digest, asset(folder / "delta")),))
    return Crafted(replace(card, **facts), files)


# Graphs that pass their trial, or do not.


def plain_graph() -> bytes:
    """The same network."""
    nodes, constants = _network()
    return _graph([*nodes, helper.make_node("Identity", ["scores"], [OUT])], constants)


def slow_graph(side: int = 900) -> bytes:
    """Right answers, and a useless product of large matrices for each."""
    nodes, constants = _network()
    constants |= {"size": np.array([side, side], np.int64), "zero": np.array(0, np.float32)}
    nodes += [
        helper.make_node("ReduceSum", [IN], ["sum"], keepdims=0),
        helper.make_node("Expand", ["sum", "size"], ["large"]),
        helper.make_node("MatMul", ["large", "large"], ["square"]),
        helper.make_node("ReduceMax", ["square"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["scores", "nothing"], [OUT]),
    ]
    return _graph(nodes, constants)


def failing_graph() -> bytes:
    """Right answers, but none where the first feature is above 100: a row that a table does not have."""
    nodes, constants = _network()
    constants |= {"table": np.zeros(101, np.float32), "first": np.array([0], np.int64)}
    nodes += [
        helper.make_node("Gather", [IN, "first"], ["column"], axis=1),
        helper.make_node("Abs", ["column"], ["positive"]),
        helper.make_node("Cast", ["positive"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["nothing"]),
        helper.make_node("Add", ["scores", "nothing"], [OUT]),
    ]
    return _graph(nodes, constants)


def greedy_graph() -> bytes:
    """It wants 256 GiB of memory for an answer."""
    nodes, constants = _network()
    constants |= {"much": np.array([1 << 36], np.int64)}
    nodes += [
        helper.make_node("ReduceMax", [IN], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "much"], ["large"]),
        helper.make_node("Abs", ["large"], ["larger"]),
        helper.make_node("ReduceMin", ["larger"], ["least"], keepdims=0),
        helper.make_node("Add", ["scores", "least"], [OUT]),
    ]
    return _graph(nodes, constants)


def endless_graph() -> bytes:
    """It counts, and will not be done."""
    nodes, constants = _network()
    constants |= {"times": np.array(1 << 60, np.int64), "yes": np.array(True), "none": np.array(0, np.float32)}
    one = numpy_helper.from_array(np.array(0, np.float32), "one")
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Add", ["sum", "one"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
        [one],
    )
    nodes += [
        helper.make_node("Loop", ["times", "yes", "none"], ["nothing"], body=body),
        helper.make_node("Add", ["scores", "nothing"], [OUT]),
    ]
    return _graph(nodes, constants)


def _network() -> tuple[list[Any], dict[str, np.ndarray]]:
    nodes = [
        helper.make_node("Gemm", [IN, "w1", "b1"], ["sums"], transB=1),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["scores"], transB=1),
    ]
    return nodes, dict(WEIGHTS)


def _graph(nodes: list[Any], constants: dict[str, np.ndarray]) -> bytes:
    def value(name: str, width: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])

    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", [value(IN, FEATURES)], [value(OUT, CLASSES)], tensors)
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()

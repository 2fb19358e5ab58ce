"""Token ids beyond the vocabulary, on either side, and bytes that are no text are the client's fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save_model

from fogline.inference.runtimes.base import ModelError
from fogline.inference.runtimes.onnx import OnnxRuntime, card_of_onnx
from tests.serving.server.running import running

WORDS, WIDTH = 5, 3


def tokens(folder: Path, ids: int, nodes: list[Any], given: str) -> Path:
    """A graph that looks ids up in a table of five rows, after what the nodes make of them."""
    table = np.arange(WORDS * WIDTH, dtype=np.float32).reshape(WORDS, WIDTH)
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array(WORDS), "count")]
    constants.append(numpy_helper.from_array(np.zeros((0, 1), np.int64), "nothing"))
    graph = helper.make_graph(
        [*nodes, helper.make_node("Gather", ["table", given], ["y"])],
        "tokens",
        [helper.make_tensor_value_info("x", ids, ["n", "length"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "length", WIDTH])],
        constants,
    )
    path = folder / "tokens.onnx"
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@pytest.mark.parametrize(
    ("ids", "datatype", "nodes", "given"),
    [
        (TensorProto.INT64, "INT64", [], "x"),
        (TensorProto.INT32, "INT32", [helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.INT64)], "cast"),
        (TensorProto.INT8, "INT8", [helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.INT64)], "cast"),
        (TensorProto.FLOAT, "FP32", [helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.INT64)], "cast"),
        (
            TensorProto.INT64,
            "INT64",
            [
                helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0]),
                helper.make_node("Concat", ["nothing", "turned"], ["joined"], axis=0),
                helper.make_node("Transpose", ["joined"], ["back"], perm=[1, 0]),
            ],
            "back",
        ),
    ],
)
@pytest.mark.parametrize("wrong", [-1, WORDS, -WORDS - 1])
def test_ids_without_a_row_are_refused(
    tmp_path: Path, ids: int, datatype: str, nodes: list[Any], given: str, wrong: int
) -> None:
    path = tokens(tmp_path, ids, nodes, given)
    card = card_of_onnx(path)
    with running(lambda card, _: OnnxRuntime(card, lambda asset: path)) as server:
        server.load(card)
        good = {"inputs": [{"name": "x", "datatype": datatype, "shape": [1, 2], "data": [0, WORDS - 1]}]}
        bad = {"inputs": [{"name": "x", "datatype": datatype, "shape": [1, 2], "data": [0, wrong]}]}
        status, body, _ = server.ask("POST", "/v2/models/tokens/infer", good)
        assert (status, body["outputs"][0]["data"]) == (200, [0, 1, 2, 12, 13, 14])
        status, body, _ = server.ask("POST", "/v2/models/tokens/infer", bad)
        assert status == 400
        assert "does not take such inputs" in body["error"]
        assert (
            server.ask("GET", "/v2/models/tokens/stats")[1]["model_stats"][0]["inference_stats"]["fail"]["count"] == 0
        )
        assert server.ask("POST", "/v2/models/tokens/infer", good)[0] == 200


def test_a_place_below_none_is_refused_where_it_is_spread_to_ones_and_zeros(tmp_path: Path) -> None:
    constants = [
        numpy_helper.from_array(np.array(WORDS), "count"),
        numpy_helper.from_array(np.array([0, 1], np.float32), "values"),
    ]
    graph = helper.make_graph(
        [helper.make_node("OneHot", ["x", "count", "values"], ["y"])],
        "tokens",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WORDS])],
        constants,
    )
    path = tmp_path / "tokens.onnx"
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    runtime = OnnxRuntime(card_of_onnx(path), lambda asset: path)
    assert runtime.run({"x": np.array([2])})["y"].ravel().tolist() == [0, 0, 1, 0, 0]
    with pytest.raises(ModelError, match="a negative number"):
        runtime.run({"x": np.array([-1])})


def test_a_column_that_is_no_place_may_be_negative(tmp_path: Path) -> None:
    """Of a table's columns one is a place, and the others are numbers."""
    parts = helper.make_node("Split", ["x"], ["first", "rest"], axis=1)
    path = tokens(tmp_path, TensorProto.INT64, [parts], "first")
    runtime = OnnxRuntime(card_of_onnx(path), lambda asset: path)
    assert runtime.run({"x": np.array([[2, -7]])})["y"].ravel().tolist() == [6, 7, 8]


def test_what_is_counted_from_the_end_on_purpose_stays(tmp_path: Path) -> None:
    """Where the graph itself makes places of the ids, they may be negative."""
    path = tokens(tmp_path, TensorProto.INT64, [helper.make_node("Mod", ["x", "count"], ["made"])], "made")
    runtime = OnnxRuntime(card_of_onnx(path), lambda asset: path)
    assert runtime.run({"x": np.array([[-1]])})["y"].ravel().tolist() == [12, 13, 14]


def test_bytes_that_are_no_text_are_refused_over_http(tmp_path: Path) -> None:
    """Sent as binary data, since JSON is text."""
    letters = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a", "ä"], values_floats=[1.0, 2.0]
    )
    graph = helper.make_graph(
        [letters],
        "letters",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    path = tmp_path / "letters.onnx"
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))

    def asked(text: bytes) -> tuple[int, Any]:
        sent = len(text).to_bytes(4, "little") + text
        given = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(sent)}}
        head = json.dumps({"inputs": [given]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        return server.ask("POST", "/v2/models/letters/infer", head + sent, headers)[:2]

    with running(lambda card, _: OnnxRuntime(card, lambda asset: path)) as server:
        server.load(card_of_onnx(path))
        status, body = asked("ä".encode())
        assert (status, body["outputs"][0]["data"]) == (200, [2])
        status, body = asked(b"\xff\xfe")
        assert (status, "takes texts in UTF-8" in body["error"]) == (400, True)
        stats = server.ask("GET", "/v2/models/letters/stats")[1]["model_stats"][0]["inference_stats"]
        assert (stats["success"]["count"], stats["fail"]["count"]) == (1, 0)

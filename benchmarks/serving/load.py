"""Load for the serving benchmark: the models, what is asked of them, and wrk."""

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper, save_model

SHAPES = {"mlp": (784,), "cnn": (1, 28, 28)}

SCRIPT = """
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
wrk.headers["Content-Type"] = os.getenv("KIND")
if os.getenv("HEAD") ~= "" then wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEAD") end
function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format('{"requests": %d, "failed": %d, "seconds": %f, "p50": %f, "p99": %f}', summary.requests, failed,
    summary.duration / 1e6, latency:percentile(50), latency:percentile(99)))
end
"""


def make_models(folder: Path) -> dict[str, Path]:
    """An MLP of 784-128-10 and a CNN of two layers with 16 and 32 kernels, as ONNX files."""
    rng = np.random.default_rng(0)

    def matrix(*shape: int) -> npt.NDArray[np.float32]:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    mlp = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "w2", "b2"], ["y"], transB=1),
    ]
    cnn = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w2", "b2"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "w3", "b3"], ["y"], transB=1),
    ]
    weights = {
        "mlp": {"w1": matrix(128, 784), "b1": matrix(128), "w2": matrix(10, 128), "b2": matrix(10)},
        "cnn": {
            "w1": matrix(16, 1, 3, 3),
            "b1": matrix(16),
            "w2": matrix(32, 16, 3, 3),
            "b2": matrix(32),
            "w3": matrix(10, 1568),
            "b3": matrix(10),
        },
    }
    return {name: _saved(folder, name, nodes, weights[name]) for name, nodes in (("mlp", mlp), ("cnn", cnn))}


def _saved(folder: Path, name: str, nodes: list[Any], weights: dict[str, npt.NDArray[np.float32]]) -> Path:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *SHAPES[name]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    path = folder / f"{name}.onnx"
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@dataclass(frozen=True)
class Body:
    """A request as it is sent."""

    path: Path
    head: str = ""
    """Bytes of the JSON before a binary tensor."""


def make_bodies(folder: Path, model: str, batches: Iterable[int]) -> dict[tuple[str, int], Body]:
    """By form (``binary`` or ``json``) and batch."""
    rng = np.random.default_rng(1)
    made: dict[tuple[str, int], Body] = {}
    for batch in batches:
        x = rng.random((batch, *SHAPES[model])).astype(np.float32).round(4)
        tensor: dict[str, Any] = {"name": "x", "shape": x.shape, "datatype": "FP32"}
        head = json.dumps(
            {
                "inputs": [{**tensor, "parameters": {"binary_data_size": x.nbytes}}],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        text = json.dumps({"inputs": [{**tensor, "data": [round(float(v), 4) for v in x.ravel()]}]}).encode()
        for form, data in (("binary", head + x.tobytes()), ("json", text)):
            path = folder / f"{model}-{form}-{batch}"
            path.write_bytes(data)
            made[form, batch] = Body(path, str(len(head)) if form == "binary" else "")
    return made


def load(url: str, body: Body, connections: int, seconds: int) -> dict[str, float]:
    """Ask for so many seconds over kept connections: requests, failures, and latencies in microseconds."""
    script = body.path.with_name("wrk.lua")
    script.write_text(SCRIPT)
    kind = "application/octet-stream" if body.head else "application/json"
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url],
        env={**os.environ, "BODY": str(body.path), "HEAD": body.head, "KIND": kind},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])

"""What can be said about the server and its models, in the protocol's words."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from fogline.inference.card import Card, Tensor
from fogline.serving.server.repository import Line, Repository
from fogline.serving.server.served import Served

NAME = "fogline"
EXTENSIONS = ("binary_tensor_data", "classification", "model_repository", "statistics", "labels")


@cache
def server() -> dict[str, Any]:
    """The server."""
    return {"name": NAME, "version": version("fogline"), "extensions": EXTENSIONS}


def metadata(served: Served, line: Line) -> dict[str, Any]:
    """A version of a model."""
    return {
        "name": served.card.model,
        "versions": list(line.versions),
        "platform": served.runtime.name,
        "inputs": [_tensor(tensor) for tensor in served.card.inputs],
        "outputs": [_tensor(tensor) for tensor in served.card.outputs],
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def example(card: Card) -> dict[str, Any]:
    """A request that the model takes: one example of zeros."""
    return {"id": "example", "inputs": [_zeros(tensor) for tensor in card.inputs]}


def _zeros(tensor: Tensor) -> dict[str, Any]:
    shape = [1 if size == -1 else size for size in tensor.shape]
    count = 1
    for size in shape:
        count *= size
    zero: Any = {"BOOL": False, "BYTES": ""}.get(tensor.datatype, 0)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": [zero] * count}


def index(repository: Repository, ready: bool) -> list[dict[str, str]]:
    """All models; ``ready``: only versions that are loaded."""
    found: list[dict[str, str]] = []
    for name, line in repository.lines.items():
        if not line.versions and not ready:
            found.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"})
        found += [{"name": name, "version": v, "state": "READY", "reason": ""} for v in line.versions]
    return found


def statistics(served: Served) -> dict[str, Any]:
    """What a version has done."""
    counts = served.counts
    return {
        "name": served.card.model,
        "version": served.version,
        "last_inference": int(counts.last * 1000),
        "inference_count": counts.rows,
        "execution_count": counts.batches,
        "inference_stats": {
            "success": {"count": counts.requests, "ns": counts.requests_ns},
            "fail": {"count": counts.failed, "ns": counts.failed_ns},
            "compute_infer": {"count": counts.batches, "ns": counts.infer_ns},
        },
    }

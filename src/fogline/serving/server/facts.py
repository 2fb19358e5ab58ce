"""What can be said about the server and its models, in the protocol's words."""

from __future__ import annotations

from functools import cache
from typing import Any

from fogline.inference.card import Card, Tensor
from fogline.inference.runtimes.base import Array, Locate
from fogline.inference.runtimes.choose import sample_of
from fogline.serving.server.versions.repository import ModelVersions, Repository
from fogline.serving.server.versions.served import ServedModel

NAME = "fogline"
EXTENSIONS = ("binary_tensor_data", "classification", "model_repository", "statistics", "labels")


@cache
def our_version() -> str:
    """The version of Fogline that is installed."""
    from importlib.metadata import version  # Rarely asked for, and it takes 2 MB.

    return version("fogline")


def server() -> dict[str, Any]:
    """What the server says of itself: name, version and extensions."""
    return {"name": NAME, "version": our_version(), "extensions": EXTENSIONS}


def metadata(served: ServedModel, line: ModelVersions) -> dict[str, Any]:
    """A version of a model."""
    return {
        "name": served.card.model,
        "versions": list(line.versions),
        "platform": served.runtime.name,
        "inputs": [_tensor(tensor) for tensor in served.card.inputs],
        "outputs": [_tensor(tensor) for tensor in served.card.answers],
    }


def parameters(served: ServedModel) -> dict[str, Any]:
    """What is to be said of a version beside that: the common version, and the part of it that is this device's own."""
    if served.personal is None:
        return {}
    return {"parameters": {"version": served.card.version, "personal": str(served.personal)}}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def example(card: Card, locate: Locate) -> dict[str, Any]:
    """A request that the model takes: its first golden sample, or zeros."""
    sample = sample_of(card, locate)
    return {"id": "example", "inputs": [_shown(tensor, sample[tensor.name]) for tensor in card.inputs]}


def _shown(tensor: Tensor, array: Array) -> dict[str, Any]:
    flat = [item.decode(errors="replace") if isinstance(item, bytes) else item for item in array.ravel().tolist()]
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(array.shape), "data": flat}


def index(repository: Repository, ready: bool) -> list[dict[str, str]]:
    """All models; ``ready``: only versions that are loaded."""
    found = [] if ready else [_loading(name) for name in repository.coming]
    for name, line in repository.lines.items():
        if not line.versions and not ready and not repository.is_coming(name):
            found.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"})
        found += [{"name": name, "version": v, "state": "READY", "reason": ""} for v in line.versions]
    return found


def _loading(model: str) -> dict[str, str]:
    return {"name": model, "version": "", "state": "LOADING", "reason": "it is being loaded"}


def statistics(served: ServedModel) -> dict[str, Any]:
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

"""Small models for the server's tests, without packaging."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fogline.inference.card import Asset, Card, Datatype, Scores, Tensor
from fogline.inference.runtimes.base import NUMPY, Array, ModelError

DATATYPES: tuple[Datatype, ...] = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip


class Identity:
    """Gives every input back as the output of that place."""

    name = "identity"
    stages = ()

    def __init__(self, card: Card) -> None:
        self.names = {i.name: o.name for i, o in zip(card.inputs, card.outputs, strict=True)}
        self.closed = 0

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {self.names[name]: array.copy() for name, array in inputs.items()}

    def close(self) -> None:
        self.closed += 1


class Slow(Identity):
    """Takes a while, fails on negative numbers, and notes its batches."""

    def __init__(self, card: Card, seconds: float = 0.02) -> None:
        super().__init__(card)
        self.seconds = seconds
        self.batches: list[int] = []
        self.running = threading.Event()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        first = next(iter(inputs.values()))
        self.batches.append(len(first))
        self.running.set()
        time.sleep(self.seconds)
        assert not self.closed, "It was closed while it was in use."
        if first.dtype.kind == "f" and (first < 0).any():
            raise ModelError("The model takes no negative numbers.")
        return super().run(inputs)


class Scaled(Identity):
    """Multiplies by the version's number."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.factor = card.version

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert not self.closed, "It was closed while it was in use."
        return {self.names[name]: array * array.dtype.type(self.factor) for name, array in inputs.items()}


def card_of(
    model: str, datatype: Datatype = "FP32", shape: tuple[int, ...] = (-1, 4), version: int = 1, scores: bool = False
) -> Card:
    """A model of one input x and one output y of the same shape."""
    return Card(
        model=model,
        version=version,
        created=0.0,
        inputs=(Tensor("x", datatype, shape),),
        outputs=(Tensor("y", datatype, shape),),
        scores=Scores("y", labels=("ant", "bee", "cow", "dog")) if scores else None,
    )


def nowhere(asset: Asset) -> Path:
    """These models have no files."""
    raise AssertionError(asset)


def sample(datatype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Random values over the whole range of a type."""
    random = np.random.default_rng(seed)
    dtype = NUMPY[datatype]
    if datatype == "BYTES":
        made = np.empty(shape, dtype=np.object_)
        made[...] = b""
        for i in range(made.size):
            made.flat[i] = "".join(map(chr, random.integers(32, 0x2FFF, i % 5))).encode()
        return made
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(np.bool_)
    if dtype.kind == "f":
        return random.normal(0, 100, shape).astype(dtype)
    info = np.iinfo(dtype)
    made = random.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    made.flat[0], made.flat[-1] = info.min, info.max
    return made

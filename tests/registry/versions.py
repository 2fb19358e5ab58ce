"""Versions to publish in tests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from fogline.inference.card import Asset, Card, Lineage, Tensor, Variant, WeightsDelta
from fogline.registry.catalogue import Catalogue
from fogline.storage import open_blobs, open_database

IN, OUT = Tensor("x", "FP32", (-1, 4)), Tensor("y", "FP32", (-1, 2))


def opened(folder: Path) -> Catalogue:
    """A catalogue in a folder; each call opens it as another process would."""
    return Catalogue(open_database(folder / "node.db"), open_blobs(folder / "blobs", reserve=0))


def asset(data: bytes) -> Asset:
    return Asset(hashlib.sha256(data).hexdigest(), len(data))


def written(folder: Path, *contents: bytes) -> dict[str, Path]:
    """Files with these contents, by digest."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {asset(data).digest: folder / asset(data).digest[:16] for data in contents}
    for data in contents:
        files[asset(data).digest].write_bytes(data)
    return files


def card(weights: bytes = b"weights", model: str = "digits", job: str = "", rounds: int = 0, **facts: Any) -> Card:
    lineage = Lineage(job=job, rounds=rounds, parent=facts.pop("parent", 0), approved=facts.pop("approved", ()))
    made = Card(
        model=model, created=5.0, inputs=(IN,), outputs=(OUT,), weights=asset(weights), metrics={"accuracy": 0.9},
        lineage=lineage,
    )  # fmt: skip
    return msgspec.structs.replace(made, **facts)


FULL = {
    "weights": b"weights" * 100,
    "graph": b"graph" * 100,
    "golden": b"golden",
    "reference": b"",
    "variant": b"small graph",
    "delta": b"difference",
}
"""Files of :func:`full_card`."""


def full_card(**facts: Any) -> Card:
    """A card that names a file of every kind."""
    return card(
        FULL["weights"],
        graph=asset(FULL["graph"]),
        golden=asset(FULL["golden"]),
        reference=asset(FULL["reference"]),
        variants=(Variant("int8", asset(FULL["variant"]), 0.99),),
        deltas=(WeightsDelta("int8", "ab" * 32, asset(FULL["delta"])),),
        **facts,
    )

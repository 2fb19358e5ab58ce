"""A trained model becomes the files of a version."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import msgspec

from fogline.codecs import deltas
from fogline.inference.card import Asset, Delta
from fogline.inference.package import package
from fogline.network.worker.requests import Base, Package, Packaged
from fogline.params import Params, from_bytes
from fogline.training.task import Task


def pack(task: Task, params: Params, asked: Package) -> Packaged:
    """Write a version's files.

    Its weights are what comes out of the difference to the version before, so that a node that adds the difference
    and one that takes the whole file have the same.

    Raises:
        ValueError: it cannot be served; the text says why.
    """
    folder = Path(asked.folder)
    before = [(base, known) for base in asked.before if (known := _fitting(base, params)) is not None]
    models = [known for _, known in before]
    closed = deltas.against(params, models[0] if models else None, models[1:], asked.codec)
    made = package(
        task,
        closed.params,
        folder,
        asked.model,
        created=time.time(),
        variants=asked.variants,
        graph=None if asked.graph is None else Path(asked.graph),
    )
    files = dict(made.files)
    listed: list[Delta] = []
    for (base, _), encoded in zip(before, closed.payloads, strict=True):
        if encoded is None:
            continue
        digest = hashlib.sha256(encoded.payload).hexdigest()
        files[digest] = folder / f"delta-{base.digest[:16]}"
        files[digest].write_bytes(encoded.payload)
        listed.append(Delta(encoded.codec, base.digest, Asset(digest, len(encoded.payload))))
    card = msgspec.structs.replace(
        made.card, deltas=tuple(listed), lineage=asked.lineage, metrics=made.card.metrics | asked.metrics
    )
    return Packaged(card.encoded(), {digest: str(path) for digest, path in files.items()})


def _fitting(base: Base, params: Params) -> Params | None:
    """The weights of an older version, if they have the same layout."""
    older = from_bytes(Path(base.path).read_bytes())
    return older if older.spec == params.spec else None

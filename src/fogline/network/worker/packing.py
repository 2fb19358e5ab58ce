"""A trained model becomes the files of a version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from fogline.codecs import deltas
from fogline.inference.card import Asset, Card, Code, WeightsDelta
from fogline.inference.confidence import confidence
from fogline.inference.exits import wanted_of
from fogline.inference.package import PackageOptions, package
from fogline.inference.runtimes.base import Array
from fogline.inference.sketches import build_reference
from fogline.jobs import Job
from fogline.network.worker.requests import Packaged, PackageModel
from fogline.params import Params, load
from fogline.training.task import Task


def pack(
    job: Job,
    task: Task,
    params: Params,
    asked: PackageModel,
    personal: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Packaged:
    """Write a version's files.

    Its weights are what comes out of the difference to the version before, so that a node that adds the difference
    and one that takes the whole file have the same.

    Args:
        job: the job.
        task: its task.
        params: the whole model.
        asked: what is asked.
        personal: tensors that every device has of its own. The test set says nothing of them, so the version's metrics
            are what devices found then.
        notes: what people should know besides.

    Raises:
        ModelError: it cannot be served; the text says why.
        ValueError: an older version cannot be read.
    """
    folder = Path(asked.folder)
    before = [load(Path(base.path)) for base in asked.before]
    closed = deltas.against(params, before[0] if before else None, before[1:], asked.codec)
    made = package(
        task,
        closed.params,
        folder,
        asked.model,
        PackageOptions(
            lineage=asked.lineage,
            metrics=asked.found if personal else None,
            personal=personal,
            graph=None if asked.graph is None else Path(asked.graph),
            code=Code(job.task, dict(job.task_parameters), seed=job.seed),
            variants=asked.variants,
            outputs=job.publish.exits,
            exits=wanted_of(job.publish),
            reference=reference,
        ),
    )
    files, listed = dict(made.files), list[WeightsDelta]()
    for base, encoded in zip(asked.before, closed.deltas, strict=True):
        if encoded is not None:
            delta = WeightsDelta(encoded.codec, base.digest, _asset(encoded.payload))
            files[delta.asset.digest] = folder / f"delta-{base.digest}"
            files[delta.asset.digest].write_bytes(encoded.payload)
            listed.append(delta)
    lineage = msgspec.structs.replace(made.card.lineage, data=made.card.lineage.data or (task.data.name,))
    card = msgspec.structs.replace(made.card, deltas=tuple(listed), lineage=lineage)
    return Packaged(card.encoded(), {digest: str(path) for digest, path in files.items()}, (*made.notes, *notes))


def reference(card: Card, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> bytes:
    """What inputs and confidence look like now, to tell drift from later."""
    sure = np.empty(0) if card.scores is None else confidence(card.scores, outputs)
    return build_reference(inputs, sure).encode()


def _asset(data: bytes) -> Asset:
    return Asset(hashlib.sha256(data).hexdigest(), len(data))

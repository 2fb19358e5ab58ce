"""A job's model becomes a version in the cloud's registry."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fogline.inference.card import Card, Lineage, read_card
from fogline.jobs import Job
from fogline.jobs.job import model_name
from fogline.network.node.values import ValueStore
from fogline.network.worker.client import WorkerClient, expect
from fogline.network.worker.requests import Base, Packaged, PackageModel
from fogline.registry.publisher import Publisher

KNOWN = 3
"""Older versions to which a new one is published as a difference."""


@dataclass(frozen=True)
class ModelOrigin:
    """Where a model comes from."""

    job: Job
    id: str
    """Of the job at this cloud."""
    rounds: int
    """Done when it was taken."""
    by: str
    bundle: str


async def publish(
    publisher: Publisher,
    judge: WorkerClient,
    value_store: ValueStore,
    group: str,
    origin: ModelOrigin,
    found: Mapping[str, float],
) -> tuple[Card, str]:
    """Package a model in the job's worker, and publish it; what people should know of it besides.

    Args:
        publisher: the registry.
        judge: the job's worker at the cloud.
        value_store: for drafts.
        group: file of the model.
        origin: where it comes from.
        found: what devices say of it, where they judge it.

    Raises:
        WorkerError: it cannot be served.
        ValueError: it cannot be published.
        StorageError: there is no room for it.
    """
    job, model = origin.job, model_name(origin.job)
    folder = value_store.draft()
    folder.mkdir()
    try:
        before = await asyncio.to_thread(publisher.recent, model, KNOWN)
        asked = PackageModel(
            group=group,
            folder=str(folder.resolve()),
            model=model,
            codec=job.publish.delta,
            variants=job.publish.variants,
            lineage=lineage(origin, before),
            before=tuple(_base(publisher, card) for card in before),
            graph=_graph(publisher, before),
            found={name: value for name, value in found.items() if "/" not in name},
        )
        packaged = expect(Packaged, await judge.ask(asked))
        files = {digest: Path(path) for digest, path in packaged.files.items()}
        card = read_card(packaged.card)
        return await asyncio.to_thread(publisher.publish, card, files, job.publish), " ".join(packaged.notes)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, True)


def lineage(origin: ModelOrigin, before: Sequence[Card]) -> Lineage:
    """What a version says of where it came from."""
    job = origin.job
    return Lineage(
        job=origin.id,
        task=job.task,
        algorithm=job.algorithm.name,
        rounds=origin.rounds,
        data=job.needs.tags,
        bundle=origin.bundle,
        by=origin.by,
        parent=before[0].version if before else 0,
    )


def _base(publisher: Publisher, card: Card) -> Base:
    assert card.weights is not None
    return Base(card.weights.digest, str(publisher.blobs.path(card.weights.digest)))


def _graph(publisher: Publisher, before: Sequence[Card]) -> str | None:
    graphs = [card.graph for card in before if card.graph is not None]
    return str(publisher.blobs.path(graphs[0].digest)) if graphs else None

"""What one who looks at the fleet is told: all that is known, then what has changed since, a moment at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping
from typing import TypeVar

from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.requests import FleetNews

APIECE = 1000
"""Things in a message at most: they fit in one."""
MOMENT = 0.5
"""Seconds between two messages at least, so that ten thousand nodes that come at once are a few of them."""
K, V = TypeVar("K", bound=Hashable), TypeVar("V")


async def follow(store: JobStore) -> AsyncIterator[FleetNews]:
    """The news of a cloud's store, without end.

    Args:
        store: is only read. Its records are never changed but replaced, so that what is another object is news.
    """
    jobs, nodes, activity = Told[str, object](), Told[str, object](), Told[tuple[str, str], object]()
    models = -1
    while True:
        fresh = {
            "jobs": jobs.news({record.job: record for record in store.records()}),
            "nodes": nodes.news(store.nodes),
            "activity": activity.news(store.activity),
        }
        ended = tuple(activity.gone(store.activity))
        if any(fresh.values()) or ended or models != store.model_changes:
            models = store.model_changes
            for start in range(0, max(1, *map(len, fresh.values())), APIECE):
                part = {name: tuple(values[start : start + APIECE]) for name, values in fresh.items()}
                yield FleetNews(**part, ended=ended if start == 0 else (), models=models)
            await asyncio.sleep(MOMENT)
        else:
            await store.news()


class Told(dict[K, V]):
    """What was told, by key."""

    def news(self, known: Mapping[K, V]) -> list[V]:
        """What is another object than was told; it counts as told from here on."""
        fresh = {key: value for key, value in known.items() if self.get(key) is not value}
        self.update(fresh)
        return list(fresh.values())

    def gone(self, known: Mapping[K, V]) -> list[K]:
        """Keys that are not there any more; they count as told."""
        over = [key for key in self if key not in known]
        for key in over:
            del self[key]
        return over

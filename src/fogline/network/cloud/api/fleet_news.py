"""What one who looks at the fleet is told: all that is known, then what has changed since, a moment at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping
from typing import TypeVar

import msgspec

from fogline.governance.subject import fits
from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.records import NodeInfo, Record
from fogline.network.cloud.requests import FleetNews
from fogline.network.transport.messages import RoundActivity

APIECE = 1000
"""Things in a message at most: they fit in one."""
MOMENT = 0.5
"""Seconds between two messages at least, so that ten thousand nodes that come at once are a few of them."""
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


async def follow(store: JobStore, cloud: str = "", patterns: tuple[str, ...] = ()) -> AsyncIterator[FleetNews]:
    """The news of a cloud's store, without end.

    Args:
        store: is only read. Its records are never changed but replaced, so that what is another object is news.
        cloud: the cloud's name, whose own rounds everybody is told of.
        patterns: of the nodes that may be told of; none at all: all.
    """

    def seen(name: str) -> bool:
        return name == cloud or fits(name, patterns)

    def narrowed(activity: RoundActivity) -> RoundActivity:
        """What is said of children holds for all of them, but not everybody is told their names."""
        if not patterns:
            return activity
        state = msgspec.structs.replace(activity.state, names=tuple(filter(seen, activity.state.names)))
        return msgspec.structs.replace(activity, state=state)

    told_jobs, told_nodes = dict[str, Record](), dict[str, NodeInfo]()
    told_activity = dict[tuple[str, str], RoundActivity]()
    counted = -1, -1
    while True:
        records = {record.job: record for record in store.records()}
        known_nodes = {name: node for name, node in store.nodes.items() if seen(name)}
        known_activity = {key: one for key, one in store.activity.items() if seen(key[0])}
        jobs = _news(told_jobs, records)
        nodes = _news(told_nodes, known_nodes)
        activity = tuple(map(narrowed, _news(told_activity, known_activity)))
        gone = _gone(told_activity, known_activity), _gone(told_jobs, records), _gone(told_nodes, known_nodes)
        if jobs or nodes or activity or any(gone) or counted != (store.model_changes, store.approval_changes):
            counted = store.model_changes, store.approval_changes
            for start in range(0, max(1, len(jobs), len(nodes), len(activity)), APIECE):
                piece = slice(start, start + APIECE)
                over = gone if start == 0 else ((), (), ())
                yield FleetNews(jobs[piece], nodes[piece], activity[piece], *over, *counted)
            await asyncio.sleep(MOMENT)
        else:
            await store.news()


def _news(told: dict[K, V], known: Mapping[K, V]) -> tuple[V, ...]:
    """What is another object than was told; it counts as told from here on."""
    fresh = {key: value for key, value in known.items() if told.get(key) is not value}
    told.update(fresh)
    return tuple(fresh.values())


def _gone(told: dict[K, V], known: Mapping[K, V]) -> tuple[K, ...]:
    """What was told and is not known any more; that counts as told from here on."""
    over = tuple(key for key in told if key not in known)
    for key in over:
        del told[key]
    return over

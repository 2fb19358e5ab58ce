"""What the tests of the network share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import warm
from tests.network.cluster import Cluster, cluster, within
from tests.storage.conftest import postgres, postgres_server, s3, s3_server

__all__ = ["postgres", "postgres_server", "s3", "s3_server"]  # For a cloud that keeps its records and blobs there.


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop that what runs for all tests of a module runs in."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(autouse=True, scope="module")
def forked_workers() -> Iterator[None]:
    """Workers are forked from a warm parent; how they start anew is the matter of the tests of workers."""
    with warm.workers():
        yield


@pytest.fixture(scope="module")
def clusters(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Cluster]]:
    """A star and a tree, by their number of fogs; several jobs use them after each other."""
    where = tmp_path_factory.mktemp("clusters")
    with ExitStack() as stack:
        yield {n: stack.enter_context(within(runner, cluster(where / str(n), fogs=n))) for n in (0, 2)}

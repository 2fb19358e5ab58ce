"""What the tests of the network share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests import warm
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

"""The registry as the cloud's nodes see it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from fogline.network.cloud.release_source import ReleaseSource
from fogline.storage import StorageError


def test_a_registry_that_still_tells_of_changes_is_not_asked_after_the_end() -> None:
    """Its threads end later than the node, whose records are closed by then."""

    def timestamp() -> bytes:
        if closed:
            raise StorageError("the records cannot be used any more")
        return b"first"

    async def run() -> bytes:
        nonlocal closed
        publisher: Any = SimpleNamespace(
            timestamp=timestamp, blobs=SimpleNamespace(has=None, path=None, adopt=None), soon=None
        )
        source = ReleaseSource(cast("Any", publisher), b"", "cloud")
        source.close()
        closed = True
        return source.changed()

    closed = False
    assert asyncio.run(run()) == b"first"

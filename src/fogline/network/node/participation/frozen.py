"""The frozen entries of a job's model on a node: fetched once, named in the job's journal and so kept till it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fogline.network.node.context import NodeContext
from fogline.network.transport.messages import Blob, JobAnnouncement
from fogline.nodes.messages import Key
from fogline.storage import BlobRef, CorruptBlobError, StorageError

FROZEN: Key = "frozen"
"""Key of the file in the journal, and its kind."""


@asynccontextmanager
async def frozen_values(node: NodeContext, announcement: JobAnnouncement) -> AsyncGenerator[str]:
    """Where the frozen entries lie, for who prepares to take part in a job; empty where its model has none.

    When that has gone well the journal names the file; else it is let go.

    Raises:
        LookupError: it cannot be had; one sentence.
    """
    blob, job, value_store = announcement.frozen, announcement.job, node.value_store
    if blob is None:
        yield ""
        return
    value = BlobRef(blob.digest, blob.size, FROZEN)
    value_store.keep(value)  # At once: another job with the same file may end meanwhile.
    try:
        await _fetch(node, blob)
        yield value_store.path(value)
        named = FROZEN in await asyncio.to_thread(node.database.values, job)
        if not named:
            await asyncio.to_thread(node.database.append, job, [], {FROZEN: value})
    except BaseException:
        value_store.release([value])
        raise
    if named:
        value_store.release([value])  # It counts once.


async def _fetch(node: NodeContext, blob: Blob) -> None:
    """See that the file is here, and whole."""
    assert node.uplink is not None
    try:
        await node.uplink.fetch(blob)
        try:
            await asyncio.to_thread(node.value_store.blobs.verify, blob.digest)
        except CorruptBlobError:  # A power cut has damaged what was not flushed; it is deleted.
            await node.uplink.fetch(blob)
    except (LookupError, StorageError) as error:
        raise LookupError(f"the frozen part of the model did not come: {error}") from error

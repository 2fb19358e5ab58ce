"""Values that a parent's messages name: brought here, whole or as differences to what is here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from fogline.network.node.context import NodeContext
from fogline.network.timing import RESTORED
from fogline.network.transport.messages import Blob, Difference
from fogline.network.worker.client import WorkerClient, WorkerError, expect
from fogline.network.worker.requests import ModelWritten, RestoreModel
from fogline.nodes.messages import Key
from fogline.nodes.versions import DIFFERENCE, before, lacked
from fogline.storage import BlobRef, StorageError

log = logging.getLogger("fogline.network")


class Arrivals:
    """Brings values of one job to a node.

    Args:
        node: the node.
        worker_client: adds differences up.
    """

    def __init__(self, node: NodeContext, worker_client: WorkerClient) -> None:
        self._node = node
        self._store = node.value_store
        self._worker_client = worker_client

    async def take(
        self, blob: Blob, kind: str, reads: bool, differences: Sequence[Difference], held: Mapping[Key, BlobRef]
    ) -> BlobRef:
        """The value of a blob; its bytes are here where the node ``reads`` it, and does not only hand it on.

        Args:
            blob: as the message names it.
            kind: of the value.
            reads: whether the node computes with it.
            differences: that lead to it, the oldest first.
            held: values that are here.

        Raises:
            LookupError: its bytes are not to be had.
            StorageError: they cannot be kept here.
        """
        value = self._store.receive(blob, kind)
        if value is None and blob.data:
            raise LookupError("its bytes are not what was announced")
        if value is None and reads:
            value = await self._restored(blob, kind, differences, held)
        if value is None and reads:
            await self._fetch(blob)
        return value or BlobRef(blob.digest, blob.size, kind)

    def handed_on(self, differences: Sequence[Difference], held: Mapping[Key, BlobRef]) -> dict[Key, BlobRef]:
        """The values of differences that go on to children as they came; their bytes are fetched when a child asks."""
        values: dict[Key, BlobRef] = {}
        for difference in differences:
            key, blob = difference.model + DIFFERENCE, difference.blob
            there = held.get(key)
            if there is None or there.digest != blob.digest:
                there = self._store.receive(blob, "difference") or BlobRef(blob.digest, blob.size, "difference")
            values[key] = there
        return values

    async def _fetch(self, blob: Blob) -> None:
        assert self._node.uplink is not None
        await self._node.uplink.fetch(blob)

    async def _restored(
        self, blob: Blob, kind: str, differences: Sequence[Difference], held: Mapping[Key, BlobRef]
    ) -> BlobRef | None:
        """The value, from an older version that is here; None where it has to come whole."""
        wanted = lacked([difference.model for difference in differences], held)
        if wanted is None:
            return None
        base = held[before(wanted[0])]
        used = [base]
        self._store.keep(base)
        try:
            for difference in differences[-len(wanted) :]:
                part = self._store.receive(difference.blob, "difference")
                if part is None:
                    await self._fetch(difference.blob)
                    part = BlobRef(difference.blob.digest, difference.blob.size, "difference")
                self._store.keep(part)
                used.append(part)
            made = await self._added(used, kind)
        except (LookupError, StorageError, WorkerError, TimeoutError) as error:
            log.warning("%s cannot use a difference, and takes the model whole: %s", self._node.name, error)
            return None
        finally:
            self._store.release(used)
        if made.digest == blob.digest:
            return made
        self._store.keep(made)
        self._store.release([made])
        log.warning("%s had another model than its parent meant, and takes the new one whole", self._node.name)
        return None

    async def _added(self, files: Sequence[BlobRef], kind: str) -> BlobRef:
        """What differences lead to, from the model that is the first of the files."""
        draft = self._store.draft()
        base, *parts = map(self._store.path, files)
        asked = RestoreModel(base, tuple(parts), str(draft))
        async with asyncio.timeout(RESTORED):
            answer = await self._worker_client.ask(asked, lambda: draft.unlink(missing_ok=True))
        expect(ModelWritten, answer)
        return await self._store.take(draft, kind)

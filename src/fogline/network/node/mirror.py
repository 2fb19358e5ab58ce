"""What a node does for models that are served: it passes files and news down, and reports up.

Nothing here is trusted or understood: releases are signed by the cloud and checked by the node that serves, so whoever
is between is a mirror.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.policy.terms import Channel
from fogline.network.transport.messages import (
    SERVICE,
    Blob,
    BlobSize,
    MetadataFile,
    OffloadRequest,
    ReadMetadata,
    ReleaseOutcome,
    ReleaseVitals,
    Size,
    UpFrame,
)
from fogline.network.transport.ports import UnreachableError
from fogline.network.transport.uplink import ConnectionLostError, Uplink
from fogline.processes.messages import Decoder, decoder
from fogline.processes.tasks import Tasks
from fogline.registry.merging import together
from fogline.registry.release import Outcome, Vitals
from fogline.registry.trust.names import TIMESTAMP
from fogline.storage import Blobs, CorruptBlobError, Database, MissingBlobError, StorageError, StorageFullError

DOCUMENTS, WITNESS = "release-document", "release-witness"
KEPT = 200
"""Small files that a mirror keeps; every step of a rollout makes about three."""
ROOM = 4 << 30
"""Bytes of files that a mirror keeps."""
STALE = 7 * 86400.0
"""Seconds after which the beginning of a file is deleted that nobody goes on fetching."""
PERIOD = 5.0
"""Seconds over which reports from below are added up."""
SIZE, FILE = decoder(Size), decoder(MetadataFile)
T = TypeVar("T")


class ServedFiles(Protocol):
    """Files of the versions that a node serves itself, by digest."""

    def has(self, digest: str) -> bool:
        """Whether a file is here, complete."""
        ...

    def path(self, digest: str) -> Path:
        """Where it lies.

        Raises:
            StorageError: it is not here.
        """
        ...

    def adopt(self, path: Path) -> tuple[str, int]:
        """Move a finished file in; its digest and its size in bytes."""
        ...

    def delete(self, digest: str) -> None:
        """Delete a file; one that is not here is no error."""
        ...


class Releases(Protocol):
    """Where a node has models from: the root publishes them, others mirror their parent."""

    @property
    def store(self) -> ServedFiles:
        """Where the files lie of what this node serves itself."""
        ...

    @property
    def timestamp(self) -> bytes:
        """The newest signed timestamp; empty before there is one."""
        ...

    async def document(self, name: str, anew: bool = False) -> bytes | None:
        """A small file of signed releases; None where there is none.

        Args:
            name: of the file.
            anew: from the root of the tree, not from what is kept on the way: that was not believed.

        Raises:
            LookupError: whoever has them cannot be asked now.
        """
        ...

    async def weigh(self, digest: str) -> int:
        """Bytes of a file of a published version.

        Raises:
            LookupError: it is none, or nobody can be asked.
        """
        ...

    async def obtain(self, digest: str, size: int | None = None) -> Path:
        """Where a file of a published version lies, fetched if need be.

        Raises:
            LookupError: it is none, or nobody can be asked.
            StorageError: it cannot be kept here.
        """
        ...

    def take_outcome(self, outcome: Outcome) -> None:
        """What became of a release on this node or on one below."""
        ...

    def measured(self, vitals: Vitals) -> None:
        """How a version fares on this node or on those below."""
        ...


class ServingPart(Protocol):
    """The serving part of a node."""

    @property
    def channel(self) -> Channel:
        """The channel whose releases the node serves."""
        ...

    def fresh(self, timestamp: bytes) -> None:
        """There may be a release; also said when the parent is there again."""
        ...

    def personal(self, model: str) -> None:
        """This device has a newer part of its own of a model."""
        ...

    async def infer(self, ask: bytes, seconds: float) -> bytes:
        """Answer for a child whose own model was not sure.

        Raises:
            LookupError: it cannot; the text says why.
        """
        ...


class _Signed(msgspec.Struct):
    version: int


class _Metadata(msgspec.Struct):
    signed: _Signed


_METADATA = msgspec.json.Decoder(_Metadata)


def version_of(timestamp: bytes) -> int:
    """What a timestamp says of its age; whether it may be believed is not asked. 0: it is none."""
    try:
        return _METADATA.decode(timestamp).signed.version
    except UNREADABLE:
        return 0


class ReleaseMirror:
    """Keeps what passes, so that it crosses the link above once.

    Args:
        uplink: the parent.
        database: for small files.
        blobs: for large ones: a store of its own.
        owner: this node, for the log.
    """

    def __init__(self, uplink: Uplink, database: Database, blobs: Blobs, owner: str) -> None:
        self._blobs = blobs
        self.pinned: Callable[[], Container[str]] = frozenset
        """Digests that this node itself serves."""
        self._uplink = uplink
        self._database = database
        self._documents = OrderedDict(database.all(DOCUMENTS))
        self._witness = database.get(WITNESS, WITNESS) or b""
        """A timestamp in whose place an older one came."""
        blobs.sweep(set(blobs.all()), STALE)
        self._files = OrderedDict((digest, blobs.size(digest)) for digest in blobs.all())
        self._sums = VitalsBatcher(lambda vitals: self._send(ReleaseVitals(vitals)), lambda: uplink.parent is not None)
        self._outcomes: dict[tuple[str, str, bool], Outcome] = {}
        """By node and model; an alarm says nothing of what became of a version."""
        self._tasks = Tasks(owner)
        self._writing = asyncio.Lock()
        self._absent: set[str] = set()
        """Names of which the parent had no file, as of this timestamp."""
        self._asking: dict[tuple[str, bool], asyncio.Task[bytes | None]] = {}

    @property
    def store(self) -> ServedFiles:
        return self

    @property
    def timestamp(self) -> bytes:
        return self._documents.get(TIMESTAMP, b"")

    def close(self) -> None:
        """Say what is left to say."""
        self._sums.flush()
        self._tasks.cancel()
        for asking in self._asking.values():
            asking.cancel()

    # Down.

    def fresh(self, timestamp: bytes) -> bool:
        """The parent has a timestamp; whether it is another than before."""
        if not timestamp or timestamp == self.timestamp:
            return False
        if version_of(timestamp) < version_of(self.timestamp):
            self.remember(self.timestamp)
        self._keep(TIMESTAMP, timestamp)
        self._absent.clear()
        return True

    @property
    def witness(self) -> bytes:
        """The newest timestamp that was ever seen here, or below."""
        return max(self.timestamp, self._witness, key=version_of)

    def is_ahead_of(self, timestamp: bytes) -> bool:
        """Whether a newer one was seen."""
        return version_of(self.witness) > version_of(timestamp)

    def remember(self, timestamp: bytes) -> None:
        """Keep a timestamp that is newer than the parent's: the cloud may have gone back to a backup."""
        if version_of(timestamp) > version_of(self._witness):
            self._witness = timestamp
            self._tasks.spawn(self._write(self._database.put, WITNESS, WITNESS, timestamp))

    async def document(self, name: str, anew: bool = False) -> bytes | None:
        if not anew and (name in self._documents or name in self._absent):
            return self._documents.get(name)
        key = (name, anew)
        if key not in self._asking:
            # For all who want it now: news makes all children ask at once.
            asking = self._asking[key] = asyncio.create_task(self._ask_for(name, anew))
            asking.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(self._asking[key])

    async def _ask_for(self, name: str, anew: bool) -> bytes | None:
        timestamp = self.timestamp
        answer = await self._ask("Read", ReadMetadata(name, anew), FILE)
        if answer.data is not None:
            # Every name but the timestamp's says which version or content it is, so it never changes.
            self._keep(name, answer.data)
            return answer.data
        if name in self._documents:
            self._forget(name)
        if timestamp == self.timestamp:
            self._absent.add(name)
        return answer.data

    def _answered(self, key: tuple[str, bool], done: asyncio.Task[bytes | None]) -> None:
        del self._asking[key]
        if not done.cancelled():
            done.exception()  # Whoever waited may be gone.

    async def weigh(self, digest: str) -> int:
        if digest in self._files:
            return self._files[digest]
        return (await self._ask("Weigh", BlobSize(digest), SIZE)).size

    async def obtain(self, digest: str, size: int | None = None) -> Path:
        if digest not in self._files or not self._blobs.has(digest):
            size = await self.weigh(digest) if size is None else size
            try:
                await self._uplink.fetch(Blob(digest, size), self._blobs)
            except StorageFullError:
                if not self._give_up(size, digest):
                    raise
                await self._uplink.fetch(Blob(digest, size), self._blobs)
            self._files[digest] = size
        self._files.move_to_end(digest)
        self._give_up(sum(self._files.values()) - ROOM, digest)
        return await asyncio.to_thread(self._blobs.path, digest)

    async def recheck(self, digest: str) -> None:
        """Delete a file that is damaged here; it is fetched again when it is asked for."""
        try:
            await asyncio.to_thread(self._blobs.verify, digest)
        except (CorruptBlobError, MissingBlobError):
            self._files.pop(digest, None)

    async def _ask(self, method: str, question: ReadMetadata | BlobSize, answer: Decoder[T]) -> T:
        """The parent's answer.

        Raises:
            UnreachableError: there is no parent now.
            LookupError: there is no answer that could be read.
        """
        try:
            return answer.decode(await self._uplink.unary(f"/{SERVICE}/{method}", question))
        except ConnectionLostError as loss:
            raise UnreachableError(str(loss)) from loss
        except msgspec.DecodeError as error:
            raise LookupError(f"the parent sent what is no answer: {error}") from error

    # The store of what this node serves itself.

    def has(self, digest: str) -> bool:
        return self._blobs.has(digest)

    def path(self, digest: str) -> Path:
        return self._blobs.path(digest)

    def adopt(self, path: Path) -> tuple[str, int]:
        digest, size = self._blobs.adopt(path)
        self._files[digest] = size
        return digest, size

    def delete(self, digest: str) -> None:
        self._files.pop(digest, None)
        self._blobs.delete(digest)

    def _give_up(self, excess: int, wanted: str) -> bool:
        """Delete so many bytes of what was not asked for lately; whether there were as many."""
        pinned = self.pinned()
        for digest in [digest for digest in self._files if digest != wanted and digest not in pinned]:
            if excess <= 0:
                break
            excess -= self._files[digest]
            self.delete(digest)
        return excess <= 0

    def _keep(self, name: str, data: bytes) -> None:
        self._documents[name] = data
        self._documents.move_to_end(name)
        self._tasks.spawn(self._write(self._database.put, DOCUMENTS, name, data))
        while len(self._documents) > KEPT:
            self._forget(next(iter(self._documents)))

    def _forget(self, name: str) -> None:
        del self._documents[name]
        self._tasks.spawn(self._write(self._database.delete, DOCUMENTS, name))

    async def _write(self, work: Callable[..., None], *args: Any) -> None:
        """One after the other, so that the newest stays. What counts is in memory, and the parent has it."""
        with contextlib.suppress(StorageError):
            async with self._writing:
                await asyncio.to_thread(work, *args)

    # Up.

    def connected(self) -> None:
        """The parent is there (again): it may have missed something."""
        self._sums.flush()
        for outcome in self._outcomes.values():
            self._send(ReleaseOutcome(outcome))

    def take_outcome(self, outcome: Outcome) -> None:
        key = (outcome.node, outcome.model, outcome.what == "alarm")
        if self._outcomes.get(key) != outcome:  # Else it was said, or will be when the parent is there.
            self._outcomes[key] = outcome
            self._send(ReleaseOutcome(outcome))

    def measured(self, vitals: Vitals) -> None:
        self._sums.add(vitals)

    def _send(self, frame: UpFrame) -> None:
        self._uplink.send(frame)


class VitalsBatcher:
    """Adds reports of the same version up for a while.

    Args:
        send: told of every sum.
        heard: whether anybody hears it now; until then sums only grow.
    """

    def __init__(self, send: Callable[[Vitals], None], heard: Callable[[], bool]) -> None:
        self._send = send
        self._heard = heard
        self._sums: dict[tuple[str, int], Vitals] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, vitals: Vitals) -> None:
        """Add one more report of how a version fares."""
        key = (vitals.model, vitals.version)
        before = self._sums.get(key)
        self._sums[key] = vitals if before is None else together(before, vitals)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self.flush)

    def flush(self) -> None:
        """Send what there is, if it is heard."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._heard():
            return
        sums, self._sums = self._sums, {}
        for vitals in sums.values():
            self._send(vitals)


async def ask_parent(uplink: Uplink, ask: bytes, seconds: float) -> bytes:
    """Pass a question on that this node does not answer.

    Raises:
        LookupError: there is no parent now, or it cannot answer either.
    """
    try:
        return await uplink.unary(f"/{SERVICE}/Infer", OffloadRequest(ask, seconds), seconds)
    except ConnectionLostError as loss:
        raise LookupError(str(loss)) from loss

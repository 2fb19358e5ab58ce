"""A node with an updater, and a world around it: a parent with files, a server, and an installer without weight.

Everything that the updater asks for passes a gate, at which a test may kill the process or let the disk be full.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from fogline.inference.card import Asset, Card, PersonalOrigin, Tensor, WeightsDelta
from fogline.inference.personal_parts import PersonalParts
from fogline.registry.release import Outcome, Probation, Release, Tally, Vitals
from fogline.serving.slots import VersionSlot
from fogline.serving.update.ports import (
    Ask,
    DamagedFileError,
    Installer,
    ServerError,
    UnfitModelError,
    UntrustedMetadataError,
    VerifiedMetadata,
)
from fogline.serving.update.state import ModelOnNode
from fogline.serving.update.updater import Channel, Updater
from fogline.storage import Database, open_blobs, open_database
from tests.patience import PATIENCE

MODEL = "m"
RULES = Probation(seconds=0.02, requests=10, longest=0.5, labels=30)
GOOD = Tally(answers=100, confident=100, confidence=90.0, latency=(0, 0, 100), labels=40, correct=36)
WORSE = {
    "failing": Tally(answers=60, errors=10),
    "slower": Tally(answers=60, latency=(0,) * 12 + (60,)),
    "unsure": Tally(answers=60, confident=60, confidence=36.0),
    "wrong": Tally(answers=60, labels=40, correct=20),
}
Gate = Callable[[str], None]


def looped(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def no_gate(_: str) -> None:
    pass


def named(data: bytes) -> Asset:
    return Asset(hashlib.sha256(data).hexdigest(), len(data))


def weights(version: int) -> bytes:
    return f"weights of version {version} ".encode() * 100


class Parent:
    """What the parent has. ``wrong``: what it gives instead of a file, by digest; None: nothing."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.releases: dict[str, Release] = {}
        self.approved: dict[str, frozenset[str]] = {}
        self.expires = 4e9
        self.trouble: Literal["", "expired", "older", "tampered", "unreadable"] = ""
        self.away = False
        self.wrong: dict[str, bytes | None] = {}
        self.outcomes: list[Outcome] = []
        self.fetched: list[Asset] = []
        self.serial = 0

    def add(self, data: bytes) -> Asset:
        self.files[hashlib.sha256(data).hexdigest()] = data
        return named(data)

    def card(self, version: int, base: int | None = None, model: str = MODEL) -> Asset:
        """Publish a version; ``base``: also as a difference from that one."""
        full = self.add(weights(version))
        deltas: tuple[WeightsDelta, ...] = ()
        if base is not None:
            deltas = (WeightsDelta("plus", named(weights(base)).digest, self.add(f"+{version}".encode())),)
        card = Card(
            model=model,
            version=version,
            created=0.0,
            inputs=(Tensor("x", "FP32", (-1, 1)),),
            outputs=(Tensor("y", "FP32", (-1, 1)),),
            weights=full,
            deltas=deltas,
            graph=self.add(b"the graph of all versions"),
        )
        return self.add(card.encoded())

    def release(self, number: int, version: int, base: int | None = None, **changes: Any) -> Release:
        card = self.card(version, base)
        release = Release(model=MODEL, number=number, version=version, card=card, **({"probation": RULES} | changes))
        self.releases[MODEL] = release
        self.serial += 1
        return release

    @property
    def timestamp(self) -> bytes:
        return msgspec.json.encode([self.serial, self.trouble])

    async def document(self, name: str, largest: int) -> bytes | None:
        if name == "timestamp.json":
            return self.timestamp
        return msgspec.json.encode(VerifiedMetadata(tuple(self.releases.values()), self.approved, self.expires))


class FakeUpstream:
    def __init__(self, parent: Parent, store: Any, gate: Gate) -> None:
        self.parent = parent
        self.store = store
        self.gate = gate

    async def metadata(self, name: str, largest: int, anew: bool) -> bytes | None:
        await self._line()
        return await self.parent.document(name, largest)

    async def fetch(self, asset: Asset) -> Path:
        await self._line()
        self.parent.fetched.append(asset)
        data = self.parent.wrong.get(asset.digest, self.parent.files.get(asset.digest))
        if data is None:
            raise LookupError("the parent has it not")
        self.gate("before a fetch")
        with self.store.writer(asset.digest, asset.size) as writer:
            writer.write(data[writer.offset : len(data) // 2])
            self.gate("in a fetch")
            writer.write(data[writer.offset :])
            if len(data) < asset.size:
                raise ConnectionError("the line was cut")
            try:
                writer.finish()
            except Exception as error:
                raise LookupError(f"what came is damaged: {error}") from error
        self.gate("after a fetch")
        return self.store.path(asset.digest)

    def outcome(self, outcome: Outcome) -> None:
        self.gate("before an outcome")
        self.parent.outcomes.append(outcome)

    async def _line(self) -> None:
        if self.parent.away:
            raise ConnectionError("there is no parent now")


class FakeServer:
    """``broken``: versions that it cannot load; ``fatal``: that end it when they are loaded."""

    def __init__(self, gate: Gate = no_gate) -> None:
        self.gate = gate
        self.loaded: dict[int, VersionSlot] = {}
        self.broken: set[int] = set()
        self.fatal: set[int] = set()
        self.updater: Updater | None = None
        self.starts = 0

    @property
    def live(self) -> int | None:
        return next((version for version, slot in self.loaded.items() if slot == "live"), None)

    def expect(self, model: str, coming: bool) -> None:
        """It answers nobody."""

    def start(self) -> None:
        """Begin anew, with what the updater says."""
        assert self.updater is not None
        self.starts += 1
        self.loaded.clear()
        for serving in self.updater.serving():
            self._load(serving.card, serving.paths, serving.slot)

    def crash(self, why: str) -> None:
        assert self.updater is not None
        self.updater.crashed(why)
        self.start()

    async def load(
        self, card: bytes, paths: Mapping[str, Path], slot: VersionSlot, personal: PersonalOrigin | None = None
    ) -> None:
        self.gate("before a load")
        version = msgspec.json.decode(card, type=Card).version
        if version in self.fatal:
            self.crash("SIGABRT")
            raise ServerError("the server was ended by SIGABRT")
        if version in self.broken:
            raise ServerError("it cannot be loaded")
        self._load(card, paths, slot)
        self.gate("after a load")

    async def swap(self, model: str, version: int) -> None:
        self.gate("before a swap")
        if version not in self.loaded:
            raise ServerError("it is not loaded")
        self._put(version)
        self.gate("after a swap")

    async def drop(self, model: str, version: int) -> None:
        self.gate("before a drop")
        if version not in self.loaded:
            raise ServerError("it is not loaded")
        del self.loaded[version]
        self.gate("after a drop")

    def _load(self, card: bytes, paths: Mapping[str, Path], slot: VersionSlot) -> None:
        read = msgspec.json.decode(card, type=Card)
        for asset in read.assets().values():
            assert named(paths[asset.digest].read_bytes()) == asset, "half a file is served"
        if slot == "live":
            self._put(read.version)
        else:
            self.loaded[read.version] = slot

    def _put(self, version: int) -> None:
        before = self.live
        if before is not None:
            del self.loaded[before]
        self.loaded[version] = "live"


class LightInstaller:
    """``bad``: versions that fail their trial, and how."""

    def __init__(self, gate: Gate = no_gate) -> None:
        self.gate = gate
        self.bad: dict[int, str] = {}
        self.tried: list[int] = []
        self.settled: set[str] = set()
        """Digests of files that were checked and made durable."""
        self.applied = 0
        self.misapplies = False

    async def verify(self, ask: Ask) -> VerifiedMetadata:
        timestamp = await ask("timestamp.json", 1000)
        _, trouble = msgspec.json.decode(timestamp or b'[0, ""]')
        if trouble:
            raise UntrustedMetadataError(trouble, f"the metadata is {trouble}")
        body = await ask("1.rounds.json", 1000)
        return msgspec.json.decode(body or b"", type=VerifiedMetadata)

    async def reconstruct(self, base: Path, delta: Path, codec: str, expected: Asset, out: Path) -> None:
        self.gate("before a reconstruction")
        self.applied += 1
        version = int(delta.read_bytes()[1:])
        out.write_bytes(weights(version)[: len(weights(version)) // 2])
        self.gate("in a reconstruction")
        if self.misapplies:
            raise UnfitModelError("the difference gives other weights than those that the card names")
        out.write_bytes(weights(version))
        self.gate("after a reconstruction")

    async def combine(self, weights: Path, part: Path, out: Path) -> None:
        raise UnfitModelError("its models are no models")

    async def trial(self, card: bytes, paths: Mapping[str, Path]) -> str:
        self.gate("before a trial")
        version = msgspec.json.decode(card, type=Card).version
        spoilt = tuple(digest for digest, path in paths.items() if named(path.read_bytes()).digest != digest)
        if spoilt:
            raise DamagedFileError(spoilt)
        self.tried.append(version)
        self.settled |= paths.keys()
        if version in self.bad:
            raise UnfitModelError(self.bad[version])
        self.gate("after a trial")
        return ""


class GatedDatabase:
    """The node's records, with gates."""

    def __init__(self, database: Database, gate: Gate) -> None:
        self.database = database
        self.gate = gate

    def put(self, kind: str, key: str, body: bytes) -> None:
        self.gate("before the journal")
        self.database.put(kind, key, body)
        self.gate("after the journal")

    def note(self, topic: str, body: bytes) -> int:
        self.gate("before a record")
        number = self.database.note(topic, body)
        self.gate("after a record")
        return number

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)


class GatedStore:
    """The node's blobs, with gates."""

    def __init__(self, blobs: Any, gate: Gate) -> None:
        self.blobs = blobs
        self.gate = gate

    def adopt(self, path: Path) -> tuple[str, int]:
        self.gate("before a file is moved in")
        adopted = self.blobs.adopt(path)
        self.gate("after a file is moved in")
        return adopted

    def delete(self, digest: str) -> None:
        self.gate("before a deletion")
        self.blobs.delete(digest)
        self.gate("after a deletion")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.blobs, name)


class Edge:
    """A node in a folder. A new one in the same folder is the node after a restart."""

    def __init__(
        self,
        folder: Path,
        parent: Parent,
        gate: Gate = no_gate,
        channel: Channel = "rounds",
        installer: Installer | None = None,
        model: str = MODEL,
    ) -> None:
        self.folder = folder
        self.parent = parent
        self.model = model
        self.database = open_database(folder / "node.db")
        self.blobs = open_blobs(folder / "blobs", reserve=0)
        store = GatedStore(self.blobs, gate)
        self.server = FakeServer(gate)
        self.installer = LightInstaller(gate)
        self.clock = 1000.0
        self.updater = Updater(
            "edge",
            "device",
            channel,
            GatedDatabase(self.database, gate),  # type: ignore[arg-type]
            folder,
            store,
            PersonalParts(folder / "personal"),
            FakeUpstream(parent, store, gate),
            self.server,
            installer or self.installer,
            clock=lambda: self.clock,
        )
        self.server.updater = self.updater
        self.vitals: dict[int, Tally] = {}
        """How versions fare; others fare well."""
        self.task: asyncio.Task[None] | None = None
        self.pulsing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Edge:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def start(self) -> None:
        self.updater.recover()
        self.server.start()
        self.task = asyncio.create_task(self.updater.run())
        self.pulsing = asyncio.create_task(self._pulse())

    async def stop(self) -> None:
        await self.updater.close()
        self.halt()

    def halt(self) -> None:
        for task in (self.task, self.pulsing):
            if task is not None:
                task.cancel()
        self.database.close()

    def fresh(self) -> None:
        self.updater.fresh(self.parent.timestamp)

    async def until(self, done: Callable[[Edge], bool], seconds: float = PATIENCE) -> None:
        """Wait until it is so."""
        async with asyncio.timeout(seconds):
            while not done(self):
                assert self.task is None or not self.task.done(), "the updater has ended"
                await asyncio.sleep(0.005)

    async def serve(self, number: int, version: int, base: int | None = None, **changes: Any) -> None:
        """Release a version and wait until it is committed."""
        self.parent.release(number, version, base, **changes)
        self.fresh()
        await self.until(lambda edge: edge.committed == version and edge.idle)

    @property
    def state(self) -> ModelOnNode:
        return self.updater.states().get(self.model, ModelOnNode(self.model))

    @property
    def committed(self) -> int | None:
        state = self.state
        return None if state.current is None or state.watch is not None else state.current.version

    @property
    def idle(self) -> bool:
        state = self.state
        return state.attempt is None and not (state.news or state.trash or state.restoring)

    @property
    def records(self) -> list[Outcome]:
        return [msgspec.json.decode(body, type=Outcome) for _, body in self.database.notes("serving")]

    def said(self) -> list[tuple[str, int]]:
        return [(record.what, record.version) for record in self.records]

    def check_disk(self) -> None:
        """Exactly the files that are needed are there, whole."""
        there = set(self.blobs.all())
        assert there == set(self.state.needed)
        for digest in there:
            assert named(self.blobs.path(digest).read_bytes()).digest == digest
        assert not list((self.folder / "drafts").iterdir())
        assert not [path for path in (self.folder / "blobs").rglob("*") if path.is_file() and path.name not in there]

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            version = self.server.live
            if version is not None:
                self.updater.pulse(Vitals(self.model, version, self.vitals.get(version, GOOD)))

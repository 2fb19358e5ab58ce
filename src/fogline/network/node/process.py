"""A node as a process: its folder, its servers, its connection upward, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import msgspec

from fogline import logs
from fogline.decoding import UNREADABLE
from fogline.governance.errors import TrustError
from fogline.governance.identity.checked import credentials
from fogline.governance.identity.credentials import Credentials
from fogline.governance.policy.machine import local_offers
from fogline.governance.policy.policy import read_policy
from fogline.governance.policy.terms import Policy
from fogline.monitoring.metrics.exposition import Measured
from fogline.network.node.context import SiteSettings
from fogline.network.node.enrolment import Issuer, keep_valid
from fogline.network.node.mirror import ReleaseMirror
from fogline.network.node.node import Node
from fogline.network.node.retention import RetentionTimer
from fogline.network.node.schedule import keep_hours
from fogline.network.node.services.parents import known_parents
from fogline.network.node.site.admission import AdmissionControl
from fogline.network.node.status import StatusChange
from fogline.network.node.values import ValueStore
from fogline.network.timing import LAST_CALLS
from fogline.network.transport.grpc import listen, server
from fogline.network.transport.messages import ENROLMENT_SERVICE, OPERATOR_SERVICE, SERVICE, ParentAddress
from fogline.network.transport.uplink import RefusedByParentError, Uplink
from fogline.network.worker.requests import WorkerLimits
from fogline.processes.tasks import Tasks
from fogline.storage import Blobs, Database, StorageError, open_blobs, open_database
from fogline.storage.atomic import sweep_drafts
from fogline.storage.errors import explained
from fogline.storage.files import open_locked

if TYPE_CHECKING:
    from fogline.governance.identity.authority import Authority
    from fogline.network.transport.downlink import Downlink

log = logging.getLogger("fogline.network")
LOCK = "node.lock"


class KeptInFolder(msgspec.Struct, frozen=True):
    """What of a node that runs lies in its folder, and not in a database or a bucket elsewhere; the lock says it."""

    records: bool
    models: bool


@dataclass(frozen=True)
class NodeFolder:
    """The folder of a node, and where its records and blobs lie (in the folder, unless told)."""

    folder: Path
    store: str = ""
    blobs: str = ""
    largest: int = 8 << 30
    """Bytes of the largest blob that is taken."""

    @property
    def identity(self) -> Path:
        return self.folder / "identity"

    @property
    def policy(self) -> Path:
        return self.folder / "policy.toml"

    @contextlib.contextmanager
    def occupied(self) -> Generator[None]:
        """Be the only program that runs this node: two with one name would cut each other off for ever. Drafts that
        an earlier one left when it was killed are deleted.

        Raises:
            StorageError: another one does, or the disk does not allow it.
        """
        with explained("be at home", self.folder):
            lock = open_locked(self.folder / LOCK)
        if lock is None:
            raise StorageError(
                f"The node in {self.folder} runs already; stop that program first, or name another folder"
            )
        with lock:
            with explained("tidy up", self.folder):
                lock.truncate(0)
                lock.write(msgspec.json.encode(KeptInFolder(not self.store, not self.blobs)))
                sweep_drafts(*self.folder.glob("*/"), *self.folder.glob("models/*/"))
            yield

    def runs(self) -> bool:
        """Whether a program runs this node."""
        try:
            lock = open_locked(self.folder / LOCK, create=False)
        except OSError:
            return False
        if lock is not None:
            lock.close()
        return lock is None

    def kept_by_runner(self) -> KeptInFolder | None:
        """What the program that runs this node keeps in the folder; None if it does not say."""
        try:
            return msgspec.json.decode((self.folder / LOCK).read_bytes(), type=KeptInFolder)
        except (OSError, *UNREADABLE):
            return None

    def open_database(self) -> Database:
        self.folder.mkdir(parents=True, exist_ok=True)
        return open_database(self.store or self.folder / "records.sqlite")

    def open_models(self) -> Blobs:
        """Files of published versions: apart from jobs' values, which come and go in another rhythm."""
        folder = self.folder / "models"
        place, question, rest = self.blobs.partition("?")
        return open_blobs(f"{place.rstrip('/')}/models{question}{rest}" if place else folder, folder)

    def open_value_store(self, database: Database) -> ValueStore:
        blobs = open_blobs(self.blobs or self.folder / "blobs", self.folder / "blobs", limit=self.largest)
        uses = [value.digest for stream in database.streams() for value in database.values(stream).values()]
        small = open_blobs(self.folder / "small")
        return ValueStore(blobs, small, self.folder / "drafts", uses)


@dataclass(frozen=True)
class Listening:
    """Where an aggregator listens, and how others reach it."""

    listen: str = "127.0.0.1:7443"
    enrolment: str = "127.0.0.1:7444"
    public: str = ""
    """``host:port`` for children; empty: as it listens."""


@dataclass
class RunningNode:
    """A node that runs, and where it listens."""

    node: Node
    identity: Credentials
    address: str = ""
    enrolment: str = ""
    listens: str = ""
    """``host:port`` by which this machine reaches it, where others may need another."""
    failed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Ends with the reason when the node cannot go on."""
    measures: list[Callable[[], Measured]] = field(default_factory=list[Callable[[], "Measured"]])
    """What its further parts measure, for Prometheus."""


Attach = Callable[[Node, Database, AsyncExitStack], Coroutine[Any, Any, None]]
"""Gives a node a part that serves, before it is connected; whatever that needs ends with the stack."""


@asynccontextmanager
async def member(
    place: NodeFolder,
    parent_addresses: list[ParentAddress],
    listening: Listening | None = None,
    client: str = "",
    parameters: dict[str, Any] | None = None,
    on_change: Callable[[StatusChange], None] | None = None,
    attach: Attach | None = None,
) -> AsyncGenerator[RunningNode]:
    """A node with a parent: a fog if it has children, else a device.

    Args:
        place: its folder.
        parent_addresses: parents to dial, the preferred one first; empty: those of the last time.
        listening: where its own children reach it.
        client: whose data lies here, as tasks call it.
        parameters: of tasks, as they hold here.
        on_change: told of what people may want to see.
        attach: what gives it a part that serves.
    """
    identity = credentials(place.identity)
    async with AsyncExitStack() as stack:
        database, value_store, admission, site = opened(place, identity, stack, client, parameters or {})
        node = Node(identity.subject, database, value_store, place.folder, admission, site)
        node.on_change = on_change or node.on_change
        node.credentials = lambda: credentials(place.identity)
        up = RunningNode(node, identity)
        dialled = known_parents(database, node.name, parent_addresses)
        uplink = Uplink(lambda: credentials(place.identity), dialled, value_store.blobs, node)
        node.uplink = uplink
        mirror = node.releases = ReleaseMirror(uplink, database, place.open_models(), node.name)
        stack.push_async_callback(node.close)
        stack.callback(mirror.close)
        if listening is not None:
            from fogline.network.transport.downlink import Downlink

            node.downlink = Downlink(value_store.blobs, node)
            await serve(up, place, listening, stack, lambda parent_address: Issuer.above(uplink, parent_address))
        if attach is not None:
            await attach(node, database, stack)
        await node.job_manager.start()
        tasks = Tasks(node.name)
        stack.callback(tasks.cancel)
        tasks.spawn(_upward(uplink, up))
        tasks.spawn(keep_valid(place.identity, uplink))
        tasks.spawn(RetentionTimer(node, place.policy).run())
        if listening is None:
            tasks.spawn(keep_hours(node.job_manager, place.policy))
        yield up


def opened(
    place: NodeFolder,
    identity: Credentials,
    stack: AsyncExitStack,
    client: str,
    parameters: dict[str, Any],
    authority: Authority | None = None,
) -> tuple[Database, ValueStore, AdmissionControl, SiteSettings]:
    """What every node has; the cloud has the authority besides."""
    logs.speak_for(identity.subject.name)
    stack.enter_context(place.occupied())
    policy = read_policy(place.policy)
    offers = local_offers(policy)
    database = place.open_database()
    stack.callback(database.close)
    value_store = place.open_value_store(database)
    device = identity.subject.role == "device"
    admission = AdmissionControl(
        identity.root, place.policy, offers, place.folder / "code", database, device, authority, identity.subject.name
    )
    return (
        database,
        value_store,
        admission,
        SiteSettings(client, parameters, offers, limits_of(policy), policy.limits.jobs),
    )


def limits_of(policy: Policy) -> WorkerLimits:
    """What a worker may take."""
    limits = policy.limits
    return WorkerLimits(limits.threads or 1, limits.memory_bytes, limits.niceness)


async def serve(
    up: RunningNode,
    place: NodeFolder,
    listening: Listening,
    stack: AsyncExitStack,
    issuer_of: Callable[[Callable[[], ParentAddress]], Issuer],
    operator_api: Callable[[], Any] | None = None,
) -> None:
    """Listen for children, and for those who want to enrol.

    Raises:
        OSError: an address is taken.
    """
    from fogline.network.transport.permissions import (
        permitted,  # Not above: it needs a library that a device can do without.
    )

    node, downlink = up.node, up.node.downlink
    assert downlink is not None

    def identity() -> Credentials:
        return credentials(place.identity)

    address = listening.public or listening.listen
    issuer = issuer_of(lambda: ParentAddress(node.name, up.address))  # The port may not be known before it listens.
    services = {SERVICE: {**downlink.methods(), **issuer.methods()}}
    services |= {OPERATOR_SERVICE: operator_api()} if operator_api is not None else {}
    inside = server({name: permitted(name, methods, downlink.admit) for name, methods in services.items()})
    port = listen(inside, identity, listening.listen)
    enrolling = server({ENROLMENT_SERVICE: issuer.enrolment()})
    enrolment_port = listen(enrolling, identity, listening.enrolment, mutual=False)
    node.address = up.address = _with_port(address, port)
    up.listens = _with_port(listening.listen, port)
    up.enrolment = _with_port(_enrolment_address(listening), enrolment_port)
    await inside.start()
    stack.push_async_callback(_stop, inside, downlink)
    await enrolling.start()
    stack.push_async_callback(enrolling.stop, LAST_CALLS)


async def _stop(inside: grpc.aio.Server, downlink: Downlink) -> None:
    stopping = asyncio.create_task(inside.stop(LAST_CALLS))
    await asyncio.sleep(0)  # From here on nobody new comes in.
    downlink.close()
    await stopping


async def _upward(uplink: Uplink, up: RunningNode) -> None:
    try:
        await uplink.run()
    except (RefusedByParentError, TrustError) as error:
        log.error("%s cannot go on: %s", up.node.name, error)
        if not up.failed.done():
            up.failed.set_exception(error)
            up.failed.exception()  # It is no fault of the loop's if nobody asks.


def _enrolment_address(listening: Listening) -> str:
    """How others reach the enrolment endpoint: at the public host, if one is given."""
    host, port = listening.public.rpartition(":")[0], listening.enrolment.rpartition(":")[2]
    return f"{host}:{port}" if host else listening.enrolment


def _with_port(address: str, port: int) -> str:
    host, _, asked = address.rpartition(":")
    return f"{host}:{port}" if asked == "0" else address


async def until_told(up: RunningNode, attached: bool = False) -> None:
    """Run until the process is asked to end.

    Args:
        up: the node.
        attached: end with the standard input too, so that nothing outlives who started it, however that ended.

    Raises:
        RefusedByParentError: the parent does not want this node.
        TrustError: its identity cannot be used (any more).
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    ending: asyncio.Task[bytes] | None = None
    if attached:
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        ending = asyncio.create_task(reader.read())
        ending.add_done_callback(lambda _: stop.set())
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait((waiting, up.failed), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if ending is not None:
        ending.cancel()
    if up.failed.done():
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)  # Whoever tries again listens for himself.
        up.failed.result()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a node's program."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work)

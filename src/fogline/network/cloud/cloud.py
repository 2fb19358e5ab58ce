"""The cloud as a process: the root of the tree with its scheduler and its registrar."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fogline.governance.errors import ExpiredIdentityError
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.certificates import subject_of
from fogline.governance.identity.identity import CERTIFICATE, Identity
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import Subject
from fogline.network.cloud.model_api import ModelApi
from fogline.network.cloud.operator_api import OperatorApi
from fogline.network.cloud.registrar import DAYS, Registrar
from fogline.network.cloud.release_source import ReleaseSource
from fogline.network.cloud.scheduler import JobScheduler
from fogline.network.node.enrolment import Issuer
from fogline.network.node.node import Node
from fogline.network.node.process import Attach, Listening, NodeFolder, RunningNode, opened, serve
from fogline.network.node.status import StatusChange
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.grpc import Methods
from fogline.network.transport.messages import Certificate, Enrol, ParentAddress, Renew
from fogline.registry.catalogue import Catalogue
from fogline.registry.publisher import Publisher
from fogline.registry.release import Tier
from fogline.registry.trust.binding import bind_root
from fogline.registry.trust.operator import create as create_releases
from fogline.registry.trust.releases import SignedReleases
from fogline.storage import Database

AUTHORITY, OPERATOR, SIGNING = "authority", "operator", "developer.key"
RELEASE_KEYS = "release-keys"
"""In the operator's folder: the offline keys of releases, to be moved away from the cloud. The folder of that name in
the cloud's own holds the online ones."""
FACTS = "operator.json"
LONG = 12
"""Times as long as others that certificates hold which the cloud gives to itself: it renews them when it starts."""


@dataclass
class CloudUp(RunningNode):
    """A cloud that runs."""

    scheduler: JobScheduler | None = None
    registrar: Registrar | None = None


class OperatorFacts(msgspec.Struct, frozen=True):
    """What an operator's folder says beside its identity."""

    name: str
    address: str
    enrolment: str = ""
    """``host:port`` at which new nodes join."""
    operator: str = "operator"
    """Who the operator is."""


def create(folder: Path, name: str = "cloud", operator: str = "operator", days: float = DAYS) -> None:
    """Set up a cloud: its authority, its own certificate, an operator with the offline keys of releases, and a
    developer's key that it trusts.

    Raises:
        TrustError: there is one in that folder already.
    """
    authority = Authority.create(folder / AUTHORITY)
    for where, subject in (
        (folder / "identity", Subject(name, "cloud")),
        (folder / OPERATOR / "identity", Subject(operator, "operator")),
    ):
        key = Identity.create_key(where)
        key.install(authority.issue(key.csr(), subject, LONG * days), authority.root_pem)
    create_releases(folder / RELEASE_KEYS, folder / OPERATOR / RELEASE_KEYS)
    signer = SigningKey.create(folder / OPERATOR / SIGNING, operator).signer
    (folder / "policy.toml").write_text(trusting(signer.name, signer.key))


def trusting(name: str, key: str) -> str:
    """A policy that lets one developer's jobs run."""
    return f'# Whose jobs may run here.\n[[signer]]\nname = "{name}"\nkey = "{key}"\n'


def renewed(authority: Authority, folder: Path, days: float = DAYS) -> Identity:
    """An identity beside the authority, with a new certificate if the old one is about to expire or has."""
    try:
        identity = Identity.load(folder)
        if time.time() < identity.renew_at:
            return identity
        subject = identity.subject
    except ExpiredIdentityError:
        subject = subject_of((folder / CERTIFICATE).read_bytes())
    key = Identity.create_key(folder)
    return key.install(authority.issue(key.csr(), subject, LONG * days), authority.root_pem)


@asynccontextmanager
async def cloud(
    place: NodeFolder,
    listening: Listening,
    parallel: int = 4,
    days: float = DAYS,
    on_change: Callable[[StatusChange], None] | None = None,
    attach: Attach | None = None,
) -> AsyncGenerator[CloudUp]:
    """The root of the tree.

    Args:
        place: its folder, as :func:`create` made it.
        listening: where it listens.
        parallel: jobs that run at the same time.
        days: life of the certificates that it gives out.
        on_change: told of what people may want to see.
        attach: what gives it a part that serves.
    """
    authority = Authority.load(place.folder / AUTHORITY)
    identity = renewed(authority, place.identity, days)
    operator = renewed(authority, place.folder / OPERATOR / "identity", days).subject.name
    async with AsyncExitStack() as stack:
        database, value_store, admission, site = opened(place, identity, stack, "", {}, authority)
        node = Node(identity.subject, database, value_store, place.folder, admission, site)
        node.on_change = on_change or node.on_change
        node.downlink = Downlink(value_store.blobs, node)
        scheduler, source = registered(node, place, authority, database, parallel)
        node.cloud, node.releases = scheduler, source
        up = CloudUp(node, identity, scheduler=scheduler)
        stack.push_async_callback(node.close)
        stack.push_async_callback(scheduler.close)
        stack.callback(source.close)

        def issuer_of(parent_address: Callable[[], ParentAddress]) -> Issuer:
            up.registrar = Registrar(authority, database, admission, parent_address, node.siblings, days, (operator,))
            registrar = up.registrar

            async def enrol(asked: Enrol) -> Certificate:
                return await asyncio.to_thread(registrar.enrol, asked)

            async def renew(asked: Renew) -> Certificate:
                return await asyncio.to_thread(registrar.renew, asked)

            return Issuer(enrol, renew)

        def operator_api() -> Methods:
            assert up.registrar is not None
            assert node.downlink is not None
            models = ModelApi(scheduler.publisher, value_store.blobs, node.downlink).methods()
            return {**OperatorApi(scheduler, up.registrar, node.downlink).methods(), **models}

        await scheduler.load()
        await asyncio.to_thread(scheduler.publisher.start)
        if attach is not None:
            await attach(node, database, stack)
        await serve(up, place, listening, stack, issuer_of, operator_api)
        facts = OperatorFacts(node.name, up.address, up.enrolment, operator)
        (place.folder / OPERATOR / FACTS).write_bytes(msgspec.json.encode(facts))
        scheduler.start()
        source.start()
        yield up


def registered(
    node: Node, place: NodeFolder, authority: Authority, database: Database, parallel: int
) -> tuple[JobScheduler, ReleaseSource]:
    """The scheduler and the registry of a cloud, which tell each other things.

    Raises:
        TrustError: there are no keys for releases.
        StorageError: the records cannot be read.
    """
    loop = asyncio.get_running_loop()

    def nodes() -> dict[str, Tier]:
        return scheduler.serving()

    def cautious() -> frozenset[str]:
        return scheduler.cautious()

    def changed() -> None:  # From a thread.
        loop.call_soon_threadsafe(lambda: node.fresh(source.changed()))

    def train(job: str) -> None:
        loop.call_soon_threadsafe(scheduler.again, job)

    signed = SignedReleases(database, place.folder / RELEASE_KEYS)
    catalogue = Catalogue(database, place.open_models())
    publisher = Publisher(database, catalogue, signed, nodes, changed, train, cautious)
    source = ReleaseSource(publisher, bind_root(authority, signed.offline_metadata().roots[0]), node.name)
    scheduler = JobScheduler(node, place.folder / "runs", publisher, parallel)
    return scheduler, source

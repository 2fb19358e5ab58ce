"""The cloud as a process: the root of the tree with its office and its registrar."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fogline.governance.authority import Authority
from fogline.governance.certificates import subject_of
from fogline.governance.errors import ExpiredIdentityError
from fogline.governance.identity import CERTIFICATE, Identity
from fogline.governance.signing import SigningKey
from fogline.governance.subject import Subject
from fogline.network.changes import Change
from fogline.network.contract import Certificate, Enrol, Home, Renew
from fogline.network.desk import Desk
from fogline.network.downlink import Downlink
from fogline.network.joining import Issuer
from fogline.network.model_desk import ModelDesk
from fogline.network.node import Node
from fogline.network.office import Office
from fogline.network.program import Attach, Listening, Place, Up, opened, serve
from fogline.network.registrar import DAYS, Registrar
from fogline.network.source import Source
from fogline.network.wire import Methods
from fogline.registry.catalogue import Catalogue
from fogline.registry.publisher import Publisher
from fogline.registry.release import Tier
from fogline.registry.trust.binding import bind_root
from fogline.registry.trust.offline import create as create_releases
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
class CloudUp(Up):
    """A cloud that runs."""

    office: Office | None = None
    registrar: Registrar | None = None


class OperatorFacts(msgspec.Struct, frozen=True):
    """What an operator's folder says beside its identity."""

    name: str
    address: str
    door: str = ""
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
    place: Place,
    listening: Listening,
    parallel: int = 4,
    days: float = DAYS,
    on_change: Callable[[Change], None] | None = None,
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
        database, shelf, gate, site = opened(place, identity, stack, "", {}, authority)
        node = Node(identity.subject, database, shelf, place.folder, gate, site)
        node.on_change = on_change or node.on_change
        node.downlink = Downlink(shelf.blobs, node)
        office, source = registered(node, place, authority, database, parallel)
        node.cloud, node.releases = office, source
        up = CloudUp(node, identity, office=office)
        stack.push_async_callback(node.close)
        stack.push_async_callback(office.close)
        stack.callback(source.close)

        def issuer_of(home: Callable[[], Home]) -> Issuer:
            up.registrar = Registrar(authority, database, gate, home, node.siblings, days, (operator,))
            registrar = up.registrar

            async def enrol(asked: Enrol) -> Certificate:
                return await asyncio.to_thread(registrar.enrol, asked)

            async def renew(asked: Renew) -> Certificate:
                return await asyncio.to_thread(registrar.renew, asked)

            return Issuer(enrol, renew)

        def desk() -> Methods:
            assert up.registrar is not None
            assert node.downlink is not None
            models = ModelDesk(office.publisher, shelf.blobs, node.downlink).methods()
            return {**Desk(office, up.registrar, node.downlink).methods(), **models}

        await office.load()
        await asyncio.to_thread(office.publisher.start)
        if attach is not None:
            await attach(node, database, stack)
        await serve(up, place, listening, stack, issuer_of, desk)
        facts = OperatorFacts(node.name, up.address, up.door, operator)
        (place.folder / OPERATOR / FACTS).write_bytes(msgspec.json.encode(facts))
        office.start()
        source.start()
        yield up


def registered(
    node: Node, place: Place, authority: Authority, database: Database, parallel: int
) -> tuple[Office, Source]:
    """The office and the registry of a cloud, which tell each other things.

    Raises:
        TrustError: there are no keys for releases.
        StorageError: the records cannot be read.
    """
    loop = asyncio.get_running_loop()

    def nodes() -> dict[str, Tier]:
        return office.serving()

    def cautious() -> frozenset[str]:
        return office.cautious()

    def changed() -> None:  # From a thread.
        loop.call_soon_threadsafe(lambda: node.fresh(source.changed()))

    def train(job: str) -> None:
        loop.call_soon_threadsafe(office.again, job)

    signed = SignedReleases(database, place.folder / RELEASE_KEYS)
    catalogue = Catalogue(database, place.open_models())
    publisher = Publisher(database, catalogue, signed, nodes, changed, train, cautious)
    source = Source(publisher, bind_root(authority, signed.charter().roots[0]), node.name)
    office = Office(node, place.folder / "runs", publisher, parallel)
    return office, source

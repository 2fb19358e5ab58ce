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
from fogline.network.cloud.api.model_api import ModelApi
from fogline.network.cloud.api.operator_api import OperatorApi
from fogline.network.cloud.fleet import FleetMonitor
from fogline.network.cloud.folder import AUTHORITY, FACTS, OPERATOR, RELEASE_KEYS, SIGNING, OperatorFacts, trusting
from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.listener import NewsListener
from fogline.network.cloud.metrics import CloudMetrics
from fogline.network.cloud.registrar import DAYS, Registrar
from fogline.network.cloud.release_source import ReleaseSource
from fogline.network.cloud.restores import Restores
from fogline.network.cloud.running.job_run import Means
from fogline.network.cloud.scheduler import JobScheduler
from fogline.network.node.enrolment import Issuer
from fogline.network.node.node import Node
from fogline.network.node.process import Attach, Listening, NodeFolder, RunningNode, opened, serve
from fogline.network.node.retention import RetentionTimer
from fogline.network.node.services.parents import ParentService
from fogline.network.node.services.releases import ReleaseService
from fogline.network.node.status import StatusChange
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.grpc import Methods
from fogline.network.transport.messages import Certificate, Enrol, ParentAddress, Renew
from fogline.processes.tasks import Tasks
from fogline.registry.catalogue import Catalogue
from fogline.registry.publisher import Publisher
from fogline.registry.release import NodeKind
from fogline.registry.trust.binding import bind_root
from fogline.registry.trust.operator import create as create_releases
from fogline.registry.trust.releases import SignedReleases

LONG = 12
"""Times as long as others that certificates hold which the cloud gives to itself: it renews them when it starts."""


@dataclass
class CloudUp(RunningNode):
    """A cloud that runs: its node, its addresses and its parts."""

    scheduler: JobScheduler | None = None
    fleet: FleetMonitor | None = None
    registrar: Registrar | None = None


def create(folder: Path, name: str = "cloud", operator: str = "operator", days: float = DAYS) -> None:
    """Set up a cloud: its authority, its own certificate, an operator with the offline keys of releases, and a
    developer's key that it trusts.

    Raises:
        TrustError: there is one in that folder already.
        ValueError: a name is none.
    """
    subjects = (
        (folder / "identity", Subject(name, "cloud")),
        (folder / OPERATOR / "identity", Subject(operator, "operator")),
    )
    authority = Authority.create(folder / AUTHORITY)
    for where, subject in subjects:
        key = Identity.create_key(where)
        key.install(authority.issue(key.csr(), subject, LONG * days), authority.root_pem)
    create_releases(folder / RELEASE_KEYS, folder / OPERATOR / RELEASE_KEYS)
    signer = SigningKey.create(folder / OPERATOR / SIGNING, operator).signer
    (folder / "policy.toml").write_text(trusting(signer.name, signer.key))


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
        node.credentials = lambda: identity
        node.downlink = Downlink(value_store.blobs, node)
        scheduler, fleet, source = registered(node, place, authority, stack, parallel)
        up = CloudUp(node, identity, scheduler=scheduler, fleet=fleet)
        up.measures.append(CloudMetrics(scheduler, source.publisher).measured)

        def issuer_of(parent_address: Callable[[], ParentAddress]) -> Issuer:
            fogs = node.service(ParentService).siblings
            up.registrar = Registrar(authority, database, admission, parent_address, fogs, days, (operator,))
            registrar = up.registrar

            async def enrol(asked: Enrol) -> Certificate:
                given = await asyncio.to_thread(registrar.enrol, asked)
                await node.audit.record("node.joined", asked.name, asked.name, role=asked.role, token=asked.token)
                return given

            async def renew(asked: Renew) -> Certificate:
                return await asyncio.to_thread(registrar.renew, asked)

            return Issuer(enrol, renew)

        def operator_api() -> Methods:
            assert up.registrar is not None
            assert node.downlink is not None
            models = ModelApi(source.publisher, value_store.blobs, node.downlink, node.audit).methods()
            return {**OperatorApi(scheduler, fleet, up.registrar, node.downlink).methods(), **models}

        await scheduler.load()
        await asyncio.to_thread(source.publisher.start)
        if attach is not None:
            await attach(node, database, stack)
        await serve(up, place, listening, stack, issuer_of, operator_api)
        facts = OperatorFacts(node.name, up.address, up.enrolment, operator)
        (place.folder / OPERATOR / FACTS).write_bytes(msgspec.json.encode(facts))
        scheduler.start()
        source.start()
        tasks = Tasks(node.name)
        stack.callback(tasks.cancel)
        tasks.spawn(RetentionTimer(node, place.policy, scheduler.forget_before).run())
        yield up


def registered(
    node: Node, place: NodeFolder, authority: Authority, stack: AsyncExitStack, parallel: int
) -> tuple[JobScheduler, FleetMonitor, ReleaseSource]:
    """The parts of a cloud beside its node, which tell each other things; they end with the stack.

    Raises:
        TrustError: there are no keys for releases.
        StorageError: the records cannot be read.
    """
    loop, database = asyncio.get_running_loop(), node.database

    def nodes() -> dict[str, NodeKind]:
        return fleet.serving()

    def cautious() -> frozenset[str]:
        return fleet.cautious()

    def changed() -> None:  # From a thread.
        loop.call_soon_threadsafe(lambda: node.service(ReleaseService).fresh(source.changed()))

    def noted(model: str, text: str, by: str) -> None:
        loop.call_soon_threadsafe(lambda: node.audit.note("model.noted", by or node.name, model, text=text))

    def train(job: str) -> None:
        loop.call_soon_threadsafe(scheduler.again, job)

    signed = SignedReleases(database, place.folder / RELEASE_KEYS)
    catalogue = Catalogue(database, place.open_models())
    publisher = Publisher(database, catalogue, signed, nodes, changed, train, cautious, noted)
    source = ReleaseSource(publisher, bind_root(authority, signed.offline_metadata().roots[0]), node.name)
    job_store = JobStore(database, node.name)
    source.told = job_store.models_changed
    restores = Restores(job_store, publisher, database)
    scheduler = JobScheduler(Means(node, job_store, publisher, place.folder / "runs"), restores, parallel)
    fleet = FleetMonitor(node, job_store, publisher)
    listener = NewsListener(scheduler, fleet, restores, node.name)
    node.cloud, node.releases = listener, source
    stack.push_async_callback(node.close)
    stack.push_async_callback(scheduler.close)
    for part in (fleet, listener, source):
        stack.callback(part.close)
    return scheduler, fleet, source

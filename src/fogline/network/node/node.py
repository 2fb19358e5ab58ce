"""A node of the tree: its parts, and the talk between them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fogline.governance.identity.credentials import Credentials
from fogline.governance.roles import NODES, SUBMITTERS
from fogline.governance.subject import Subject
from fogline.inference.personal_parts import PersonalParts
from fogline.monitoring.tracing.tracer import NO_TRACER, Tracer
from fogline.network.node.auditing import AuditTrail
from fogline.network.node.context import Cloud, SiteSettings
from fogline.network.node.mirror import Releases, ServingPart
from fogline.network.node.services.activity import ActivityService
from fogline.network.node.services.audit_heads import AuditHeadService
from fogline.network.node.services.base import Service
from fogline.network.node.services.jobs import JobService
from fogline.network.node.services.ledgers import LedgerService
from fogline.network.node.services.parents import ParentService
from fogline.network.node.services.predictions import PredictionService
from fogline.network.node.services.presence import PresenceService
from fogline.network.node.services.releases import ReleaseService
from fogline.network.node.services.revocations import RevocationService
from fogline.network.node.site.admission import AdmissionControl
from fogline.network.node.slots import PrioritySemaphore
from fogline.network.node.spending import Spending
from fogline.network.node.status import StatusChange
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import (
    PROTOCOL,
    DownFrame,
    JobLog,
    Leaving,
    News,
    NodeMessage,
    Present,
    Push,
    UpFrame,
    Welcome,
)
from fogline.network.transport.ports import Call
from fogline.network.transport.uplink import Uplink
from fogline.processes.messages import Decoder
from fogline.storage import CorruptBlobError, Database, MissingBlobError

if TYPE_CHECKING:
    from fogline.governance.identity.certificates import CertificateFacts
    from fogline.network.transport.downlink import Downlink
    from fogline.network.transport.session import Session

log = logging.getLogger("fogline.network")
LOGS = "logs"
"""In a node's folder: what code printed, by the job."""
SERVICES: tuple[type[Service[Any, Any]], ...] = (
    ParentService,
    RevocationService,
    ReleaseService,
    PredictionService,
    LedgerService,
    AuditHeadService,
    JobService,
    PresenceService,
    ActivityService,
)
"""What nodes talk about, in the order in which each hears of a connection."""
UP = Decoder[UpFrame](reduce(or_, [frame for service in SERVICES for frame in service.up]))
DOWN = Decoder[DownFrame](reduce(or_, [frame for service in SERVICES for frame in service.down]))
S = TypeVar("S", bound=Service[Any, Any])


class Node:
    """The parts of a node and the talk between them.

    Args:
        subject: who it is.
        database: its records.
        value_store: its blobs.
        folder: for unpacked code and logs.
        admission: decides what may run here.
        site: what its owner says.
    """

    up_frames, down_frames = UP, DOWN

    def __init__(
        self,
        subject: Subject,
        database: Database,
        value_store: ValueStore,
        folder: Path,
        admission: AdmissionControl,
        site: SiteSettings,
    ) -> None:
        self.name = subject.name
        self.database = database
        self.value_store = value_store
        self.folder = folder
        self.admission = admission
        self.site = site
        self.address = ""
        """Where children reach it; empty for a device."""
        self.slots = PrioritySemaphore(
            site.trainings, lambda busy: self.on_change(StatusChange("training" if busy else "idle"))
        )
        self.uplink: Uplink | None = None
        self.downlink: Downlink | None = None
        self.cloud: Cloud | None = None
        """At the root, who hears everything."""
        self.releases: Releases | None = None
        """Where models come from that are served here or below."""
        self.serving: ServingPart | None = None
        """The part that serves, where there is one."""
        self.personal = PersonalParts(folder / "personal")
        """What this device has of its own of the models that it trains."""
        self.on_change: Callable[[StatusChange], None] = lambda _: None
        """Told of what people may want to see."""
        self.credentials: Callable[[], Credentials] | None = None
        """What shows who this node is; None where it shows nobody."""
        self.spending = Spending(
            self.name, folder, admission.budget, lambda: None if self.credentials is None else self.credentials()
        )
        """What the data here has given away."""
        self.audit = AuditTrail(self.name, database)
        """What was decided and done here."""
        self.tracer: Tracer = NO_TRACER
        """Told of rounds."""
        self.mishaps: Counter[str] = Counter()
        """What this node had to tell of its jobs, by kind."""
        self._instance = secrets.token_hex(8)
        self._services: dict[type[Service[Any, Any]], Service[Any, Any]] = {kind: kind(self) for kind in SERVICES}
        self._by_frame = {
            frame: service for service in self._services.values() for frame in (*service.up, *service.down)
        }
        self.job_manager = self.service(JobService).manager
        self.service(ActivityService).jobs = self.job_manager

    def service(self, kind: type[S]) -> S:
        """The node's part in a subject."""
        return cast("S", self._services[kind])

    async def close(self) -> None:
        """Stop: the journal keeps what was."""
        if self.uplink is not None:
            self.uplink.send(Leaving())
        await self.job_manager.close()
        self.service(AuditHeadService).close()
        self.service(ActivityService).close()
        await self.audit.close()

    # From above.

    def present(self) -> Present:
        """How the node presents itself."""
        serves = None if self.serving is None else self.serving.channel
        jobs = tuple(self.job_manager.participations)
        return Present(PROTOCOL, self.site.offers, self.address, jobs, serves, self._instance, self.admission.holds)

    def connected(self, parent: str, welcome: Welcome) -> None:
        """The parent is there (again)."""
        log.info("%s is connected to %s", self.name, parent)
        self.on_change(StatusChange("connected", parent))
        for service in self._services.values():
            service.connected(parent, welcome)

    def disconnected(self, parent: str, why: str) -> None:
        """The parent is gone; the node goes on with what it has."""
        log.warning("%s lost %s: %s", self.name, parent, why)
        self.on_change(StatusChange("lost", parent, why))

    def from_parent(self, parent: str, frame: DownFrame) -> None:
        """Take a frame that the parent sent."""
        self._by_frame[type(frame)].from_parent(parent, frame)

    async def rested(self) -> None:
        """Wait for a moment at which nothing is trained here."""
        await self.slots.idle()

    # From below.

    def refusal(self, subject: Subject, serial: str) -> str | None:
        """Why a node may not connect here; None if it may."""
        return self.admission.refusal(subject, serial)

    def objection(self, facts: CertificateFacts, present: Present) -> str | None:
        """Why a node may not be a child as it presents itself; None if it may."""
        if present.address and facts.subject.role != "fog":
            return f"{facts.subject.name} is a {facts.subject.role} and cannot have children; join again as fog"
        return None

    def twins(self, name: str, here: str, there: str) -> None:
        """A second program shows a child's identity."""
        self.service(PresenceService).twins(name, here, there)

    def arrived(self, session: Session) -> Welcome:
        """A child is there (again)."""
        log.info("%s connected to %s", session.name, self.name)
        for service in self._services.values():
            service.arrived(session)
        timestamp = b"" if self.releases is None else self.releases.timestamp
        lists = () if session.present.holds == self.admission.holds else self.admission.revoked
        parents = self.service(ParentService).offered(session)
        return Welcome(self.name, parents, lists, self.admission.holds, timestamp, activity=True)

    def departed(self, session: Session) -> None:
        """Take note that a child's connection is gone."""
        log.info("%s left %s: %s", session.name, self.name, session.why)
        for service in self._services.values():
            service.departed(session)

    def from_child(self, session: Session, frame: UpFrame) -> None:
        """A child said something; a leaf acts only for itself, and an aggregator for those below it too."""
        service = self._by_frame[type(frame)]
        lie = None if session.subject.role == "fog" else service.forbidden(session.subject, frame)
        if lie is None:
            service.from_child(session, frame)
            if isinstance(frame, NodeMessage):
                self.service(ActivityService).stir()
        else:
            log.warning("%s cut %s off: %s", self.name, session.name, lie)
            session.end(lie)

    def calls(self) -> Mapping[str, Call]:
        """What children may ask beside their stream."""
        return {name: call for service in self._services.values() for name, call in service.calls().items()}

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a blob is not wanted; None if it is."""
        if self.cloud is not None and not push.job:
            return self.cloud.wants(subject, push)
        return self.service(JobService).wants(subject, push)

    def withheld(self, subject: Subject, digest: str) -> str | None:
        """Why somebody may not have a blob: who only looks gets the code of jobs that are not over."""
        if self.cloud is not None and self.cloud.bundle(digest) is not None:
            return self.cloud.withheld(subject, digest)
        if subject.role in SUBMITTERS | NODES:
            return None
        return f"{subject.name} may fetch the code of jobs that are not over, and no other files"

    async def obtain(self, digest: str, doubted: bool = False) -> tuple[Path, int]:
        """Where a blob lies that a child asks for, and its bytes; fetched from above once for all children, and again
        if it is ``doubted`` and damaged here.

        Raises:
            LookupError: no job and no published version here has it.
            StorageError: it cannot be kept here.
        """
        releases = self.service(ReleaseService)
        if doubted and self.uplink is not None:
            await releases.recheck(digest)
            with suppress(CorruptBlobError, MissingBlobError):  # A damaged one is deleted.
                await asyncio.to_thread(self.value_store.blobs.verify, digest)
        blob = self.service(JobService).model(digest)
        if blob is None and self.cloud is not None:
            blob = self.cloud.bundle(digest)
        if blob is None:
            return await releases.obtain(digest)
        if small := self.value_store.small(digest):
            return small, blob.size
        if self.uplink is not None:
            await self.uplink.fetch(blob)
        try:
            return await asyncio.to_thread(self.value_store.blobs.path, digest), blob.size
        except MissingBlobError as error:
            raise LookupError(str(error)) from error  # To wait for it is of no use.

    # What its parts need of it.

    def carried(self, down: int, up: int) -> None:
        """So many bytes of blobs went to a child, or came from one."""
        self.on_change(StatusChange("bytes", down=down, up=up))
        self.service(ActivityService).carried(down, up)

    def say(self, child: str, frame: DownFrame) -> None:
        """To a child; dropped where it is not connected."""
        if self.downlink is not None and child in self.downlink.sessions:
            self.downlink.sessions[child].send(frame)
            if isinstance(frame, NodeMessage):
                self.service(ActivityService).stir()
                if frame.carried:
                    self.carried(frame.carried, 0)

    def say_to_all(self, frame: DownFrame) -> None:
        """Send a frame to every child that is connected."""
        for session in self.sessions():
            session.send(frame)

    def sessions(self) -> list[Session]:
        """The children that are connected."""
        return [] if self.downlink is None else list(self.downlink.sessions.values())

    def tell(self, news: News) -> None:
        """Something that the cloud is to hear: at the root it is here, elsewhere above."""
        if isinstance(news, JobLog) and news.node == self.name:
            self.mishaps[news.what] += news.amount
        if self.cloud is not None:
            self.cloud.hear(news)
        elif self.uplink is not None:
            self.uplink.send(news)

    def log_file(self, job: str) -> Path:
        """What a job's code printed on this node."""
        return self.folder / LOGS / f"{job}.log"

    def logs(self) -> list[Path]:
        """Files of all that code printed here."""
        return sorted((self.folder / LOGS).glob("*.log"))

"""A node of the tree: its parent, its children, and the jobs that it takes part in."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fogline.governance.identity.serials import member_since
from fogline.governance.policy.offers import missing
from fogline.governance.subject import Subject
from fogline.network.node.admission import AdmissionControl
from fogline.network.node.authorization import claim
from fogline.network.node.context import SiteSettings
from fogline.network.node.jobs import JobManager
from fogline.network.node.mirror import ReleaseMirror, Releases, ServingPart, ask_parent
from fogline.network.node.news import Cloud, NewsRelay
from fogline.network.node.participation import JobParticipation
from fogline.network.node.slots import PrioritySemaphore
from fogline.network.node.status import StatusChange
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import (
    PROTOCOL,
    ClonedIdentity,
    Down,
    HeldRevocations,
    JobAnnouncement,
    JobEnded,
    JobLog,
    JoinedJob,
    Leaving,
    LeftJob,
    NewerTimestamp,
    NodeMessage,
    NodeSeen,
    Offer,
    ParentAddress,
    Parents,
    Present,
    Push,
    ReleaseNotice,
    ReleaseOutcome,
    ReleaseVitals,
    Revoked,
    UnknownJobs,
    Up,
    Welcome,
)
from fogline.network.transport.uplink import Uplink
from fogline.network.worker.client import LONGEST
from fogline.processes.messages import decoder, encode
from fogline.storage import CorruptBlobError, Database, MissingBlobError, StorageError

if TYPE_CHECKING:
    from fogline.governance.identity.certificates import CertificateFacts
    from fogline.network.transport.downlink import Downlink
    from fogline.network.transport.session import Session

log = logging.getLogger("fogline.network")
HOMES_KIND = "parent_addresses"
HOMES = decoder(tuple[ParentAddress, ...])


class Node:
    """The parts of a node and the talk between them.

    Args:
        subject: who it is.
        database: its records.
        value_store: its blobs.
        folder: for unpacked code and logs.
        admission: decides what may run here.
        site: what its owner says.
        cloud: at the root, who hears everything.
        address: where children reach it; empty for a device.
    """

    def __init__(
        self,
        subject: Subject,
        database: Database,
        value_store: ValueStore,
        folder: Path,
        admission: AdmissionControl,
        site: SiteSettings,
        cloud: Cloud | None = None,
        address: str = "",
    ) -> None:
        self.subject = subject
        self.name = subject.name
        self.database = database
        self.value_store = value_store
        self.folder = folder
        self.admission = admission
        self.site = site
        self.cloud = cloud
        self.address = address
        self.slots = PrioritySemaphore(
            site.trainings, lambda busy: self.on_change(StatusChange("training" if busy else "idle"))
        )
        self.uplink: Uplink | None = None
        self.downlink: Downlink | None = None
        self.releases: Releases | None = None
        """Where models come from that are served here or below."""
        self.serving: ServingPart | None = None
        """The part that serves, where there is one."""
        self.job_manager = JobManager(self)
        self.news = NewsRelay(self)
        self._instance = secrets.token_hex(8)
        self.parent_addresses: tuple[ParentAddress, ...] = ()
        """Where this node's children may go instead."""
        self.on_change: Callable[[StatusChange], None] = lambda _: None
        """Told of what people may want to see."""

    # Life.

    async def close(self) -> None:
        """Stop: the journal keeps what was."""
        if self.uplink is not None:
            self.uplink.send(Leaving())
        await self.job_manager.close()

    # From above.

    def present(self) -> Present:
        """How the node presents itself."""
        serves = None if self.serving is None else self.serving.channel
        jobs = tuple(self._participations)
        return Present(PROTOCOL, self.site.offers, self.address, jobs, serves, self._instance, self.admission.holds)

    def connected(self, parent: str, welcome: Welcome) -> None:
        """The parent is there (again)."""
        log.info("%s is connected to %s", self.name, parent)
        self.on_change(StatusChange("connected", parent))
        self._take_parent_addresses(parent, welcome.parent_addresses)
        self.take_revoked(welcome.revoked)
        if self.uplink is not None and welcome.holds != self.admission.holds:
            self.uplink.send(Revoked(self.admission.revoked))  # The parent has forgotten somebody.
        if isinstance(self.releases, ReleaseMirror):
            self.releases.connected()
            self.fresh(welcome.timestamp)
            if self.releases.is_ahead_of(welcome.timestamp):
                self.news.tell(NewerTimestamp(self.releases.witness))
        self.job_manager.connected(parent)
        self.news.repeat()
        for session in self._sessions():
            self._settle(session.present.jobs)

    def disconnected(self, parent: str, why: str) -> None:
        """The parent is gone; the node goes on with what it has."""
        log.warning("%s lost %s: %s", self.name, parent, why)
        self.on_change(StatusChange("lost", parent, why))

    def from_parent(self, parent: str, frame: Down) -> None:
        """The parent said something."""
        match frame:
            case NodeMessage():
                participation = self._participations.get(frame.job)
                if participation is not None and participation.parent == parent:
                    participation.from_parent(frame)
            case Offer(announcement=announcement):
                self.job_manager.offered(announcement, parent)
            case JobEnded(job=job):
                self.job_manager.ended_above(job)
            case Revoked(revoked=revoked):
                self.take_revoked(revoked)
            case Parents(parent_addresses=parent_addresses):
                self._take_parent_addresses(parent, parent_addresses)
            case ReleaseNotice(timestamp=timestamp):
                self.fresh(timestamp)
            case Welcome():
                pass

    async def rested(self) -> None:
        """Wait for a moment at which nothing is trained here."""
        await self.slots.idle()

    def _take_parent_addresses(self, parent: str, parent_addresses: tuple[ParentAddress, ...]) -> None:
        """Where a device may go when this parent is gone; an aggregator hands the list on."""
        if self.uplink is None or not parent_addresses:
            return
        if self.downlink is not None:
            self.parent_addresses = parent_addresses
            self.say_to_all(Parents(parent_addresses))
            return
        known = {parent_address.name: parent_address for parent_address in self.uplink.parent_addresses}
        first = [self.uplink.own] + ([known[parent]] if parent in known and parent != self.uplink.own.name else [])
        self.uplink.parent_addresses = first + [
            parent_address
            for parent_address in parent_addresses
            if parent_address not in first and parent_address.name != parent
        ]
        try:
            self.database.put(HOMES_KIND, self.name, encode(tuple(self.uplink.parent_addresses)))
        except StorageError as error:
            log.warning("%s will not know its other parents after a restart: %s", self.name, error)

    def take_revoked(self, signed: tuple[bytes, ...], below: bool = False) -> None:
        """Cut nodes off, here and below, if the lists say more. ``below``: a child has sent them."""
        try:
            newer = bool(signed) and self.admission.take_revoked(signed)
        except StorageError as error:  # It holds, but only for now.
            log.error("%s cannot keep the list of revoked nodes: %s", self.name, error)
            newer = True
        if newer:
            self.spread_revoked()
        if newer and below and self.uplink is not None:
            self.uplink.send(Revoked(self.admission.revoked))
        if newer and below and self.cloud is not None:
            self.cloud.recalled()

    def spread_revoked(self) -> None:
        """There are newer lists of revoked nodes: who is on them is cut off, the others get them."""
        for session in self._sessions():
            why = self.refusal(session.subject, session.serial)
            if why is None:
                session.send(Revoked(self.admission.revoked))
            else:
                session.end(why)
        if self.downlink is not None:
            self.news.tell(HeldRevocations(self.name, self.admission.holds))

    def twins(self, name: str, here: str, there: str) -> None:
        """A second program shows a child's identity."""
        log.warning("%s: two programs, at %s and %s, use the identity of %s", self.name, here, there, name)
        self.news.tell(ClonedIdentity(name, self.name, here, there))

    # From below.

    def refusal(self, subject: Subject, serial: str) -> str | None:
        """Why a node may not connect here; None if it may."""
        return self.admission.refusal(subject, serial)

    def arrived(self, session: Session) -> Welcome:
        """A child is there (again)."""
        log.info("%s connected to %s", session.name, self.name)
        self.news.seen(self._seen(session, up=True), session.name)
        if self.cloud is not None:
            self.cloud.arrived(session.name, member_since(session.serial))
        self._settle(session.present.jobs)
        for participation in self._participations.values():
            self._offer(session, participation.announcement)
        if session.present.address:
            self._renew_parent_addresses()
        timestamp = b"" if self.releases is None else self.releases.timestamp
        lists = () if session.present.holds == self.admission.holds else self.admission.revoked
        return Welcome(self.name, self._parent_addresses_for(session), lists, self.admission.holds, timestamp)

    def departed(self, session: Session) -> None:
        """A child is gone."""
        log.info("%s left %s: %s", session.name, self.name, session.why)
        self.news.seen(self._seen(session, up=False), session.name)
        self.news.lost(session.name)
        for participation in self._participations.values():
            participation.child_left(session.name)

    def from_child(self, session: Session, frame: Up) -> None:
        """A child said something."""
        lie = claim(session, frame)
        if lie is not None:
            log.warning("%s cut %s off: %s", self.name, session.name, lie)
            session.end(lie)
            return
        match frame:
            case JoinedJob(job=job, hello=hello):
                if job in self._participations:
                    self._participations[job].child_entered(session.name, hello)
            case LeftJob(job=job, why=why):
                if job in self._participations:
                    self._participations[job].child_left(session.name)
                    self.tell(JobLog(job, self.name, "away", session.name, why[:LONGEST]))
            case NodeMessage(job=job):
                if frame.blob is not None and frame.blob.data:
                    self.carried(0, frame.blob.size)
                if job in self._participations:
                    self._participations[job].from_child(session.name, frame)
            case NodeSeen():
                self.news.seen(frame, session.name)
            case HeldRevocations() | ClonedIdentity():
                self.news.tell(frame)
            case NewerTimestamp(timestamp=timestamp):
                if isinstance(self.releases, ReleaseMirror):
                    self.releases.remember(timestamp)
                self.news.tell(frame)
            case Revoked(revoked=revoked):
                self.take_revoked(revoked, below=True)
            case JobLog(job=job):
                if job in self._participations:
                    self.tell(frame)
            case UnknownJobs(jobs=jobs):
                self._settle(jobs)
            case ReleaseOutcome(outcome=outcome):
                if self.releases is not None:
                    self.releases.take_outcome(outcome)
            case ReleaseVitals(vitals=vitals):
                if self.releases is not None:
                    self.releases.measured(vitals)
            case Leaving():
                session.end("it left")
            case Present():
                session.end("it presented itself twice")

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a blob is not wanted; None if it is."""
        participation = self._participations.get(push.job)
        if self.cloud is not None and not push.job:
            return self.cloud.wants(subject, push)
        if participation is None:
            return f"there is no job {push.job} here"
        return None if participation.expects(subject.name, push.task) else "nobody waits for that update"

    def carried(self, down: int, up: int) -> None:
        """So many bytes of blobs went to a child, or came from one."""
        self.on_change(StatusChange("bytes", down=down, up=up))

    def objection(self, facts: CertificateFacts, present: Present) -> str | None:
        """Why a node may not be a child as it presents itself; None if it may."""
        if present.address and facts.subject.role != "fog":
            return f"{facts.subject.name} is a {facts.subject.role} and cannot have children; join again as fog"
        return None

    async def obtain(self, digest: str, doubted: bool = False) -> tuple[Path, int]:
        """Where a blob lies that a child asks for, and its bytes; fetched from above once for all children, and again
        if it is ``doubted`` and damaged here.

        Raises:
            LookupError: no job and no published version here has it.
            StorageError: it cannot be kept here.
        """
        if doubted and self.uplink is not None:
            await self._recheck(digest)
        for participation in self._participations.values():
            blob = participation.model(digest)
            if blob is not None:
                if self.uplink is not None:
                    await self.uplink.fetch(blob)
                return await asyncio.to_thread(self.value_store.blobs.path, digest), blob.size
        size = await self.weigh(digest)
        assert self.releases is not None
        return await self.releases.obtain(digest, size), size

    async def _recheck(self, digest: str) -> None:
        """Delete a blob that is damaged here."""
        if isinstance(self.releases, ReleaseMirror):
            await self.releases.recheck(digest)
        with suppress(CorruptBlobError, MissingBlobError):
            await asyncio.to_thread(self.value_store.blobs.verify, digest)

    async def weigh(self, digest: str) -> int:
        """Bytes of a file of a published version.

        Raises:
            LookupError: it is none.
        """
        if self.releases is None:
            raise LookupError("no job here has that blob (any more)")
        return await self.releases.weigh(digest)

    async def document(self, name: str, anew: bool = False) -> bytes | None:
        """A small file of signed releases; None where there is none. ``anew``: from the root, not from what is kept.

        Raises:
            LookupError: whoever has them cannot be asked now.
        """
        return None if self.releases is None else await self.releases.document(name, anew)

    async def infer(self, ask: bytes, seconds: float) -> bytes:
        """Answer for a child whose own model was not sure, or pass the question on.

        Raises:
            LookupError: nobody can answer; the text says why.
        """
        if self.serving is not None:
            return await self.serving.infer(ask, seconds)
        if self.uplink is None:
            raise LookupError(f"{self.name} serves no model")
        return await ask_parent(self.uplink, ask, seconds)

    # Between.

    def say(self, child: str, frame: Down) -> None:
        """To a child; dropped where it is not connected."""
        if self.downlink is not None and child in self.downlink.sessions:
            self.downlink.sessions[child].send(frame)
            if isinstance(frame, NodeMessage) and frame.blob is not None and frame.blob.data:
                self.carried(frame.blob.size, 0)

    def fresh(self, timestamp: bytes) -> None:
        """There is a signed timestamp of releases: whoever serves looks what is new, and the children are told."""
        if not isinstance(self.releases, ReleaseMirror) or self.releases.fresh(timestamp):
            self.say_to_all(ReleaseNotice(timestamp))
        if self.serving is not None and timestamp:
            self.serving.fresh(timestamp)

    def tell(self, told: JobLog) -> None:
        """Something for a job's report."""
        self.news.tell(told)

    def _settle(self, jobs: Iterable[str]) -> None:
        """Children take part in these jobs: whoever knows that one is over says so."""
        unknown = [job for job in jobs if not self.job_manager.knows(job)]
        if self.cloud is None and unknown and self.uplink is not None:
            self.uplink.send(UnknownJobs(tuple(unknown)))
        for job in unknown:
            if self.cloud is not None and self.cloud.has_ended(job):
                self.job_manager.ended_above(job)

    def say_to_all(self, frame: Down) -> None:
        """To every child."""
        for session in self._sessions():
            session.send(frame)

    def _sessions(self) -> list[Session]:
        return [] if self.downlink is None else list(self.downlink.sessions.values())

    def _seen(self, session: Session, up: bool) -> NodeSeen:
        why = "" if up else session.why
        present = session.present
        return NodeSeen(
            session.name,
            self.name,
            session.subject.role,
            up,
            present.offers,
            why,
            present.serves,
            session.address,
            present.instance,
            session.present.holds,
        )

    def offer(self, announcement: JobAnnouncement) -> None:
        """Tell the children of a job."""
        for session in self._sessions():
            self._offer(session, announcement)

    def log_file(self, job: str) -> Path:
        """What a job's code printed on this node."""
        return self.folder / "logs" / f"{job}.log"

    @property
    def _participations(self) -> dict[str, JobParticipation]:
        return self.job_manager.participations

    def _offer(self, session: Session, announcement: JobAnnouncement) -> None:
        lack = None if session.present.address else missing(announcement.needs, session.present.offers)
        if lack is None:
            session.send(Offer(msgspec.structs.replace(announcement, depth=announcement.depth + 1)))
        else:
            self.tell(JobLog(announcement.job, self.name, "not offered", session.name, lack))

    def _parent_addresses_for(self, session: Session) -> tuple[ParentAddress, ...]:
        """Other parents for a child's children, or for the child itself."""
        if session.present.address:
            return self.siblings()
        return self.parent_addresses

    def siblings(self) -> tuple[ParentAddress, ...]:
        """The aggregators below this node, as parents."""
        return tuple(ParentAddress(s.name, s.present.address) for s in self._sessions() if s.present.address)

    def _renew_parent_addresses(self) -> None:
        parent_addresses = self.siblings()
        for session in self._sessions():
            if session.present.address:
                session.send(Parents(parent_addresses))

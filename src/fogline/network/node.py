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

from fogline.governance.offers import Offers, missing
from fogline.governance.serials import member_since
from fogline.governance.subject import Subject
from fogline.network.changes import Change
from fogline.network.claims import claim
from fogline.network.contract import (
    NOTHING,
    PROTOCOL,
    Away,
    Became,
    Down,
    Entered,
    Fresh,
    Holds,
    Home,
    Homes,
    Leaving,
    Measured,
    Offer,
    Over,
    Present,
    Push,
    Revoked,
    Said,
    Seen,
    Shown,
    Ticket,
    Told,
    Twins,
    Unsure,
    Up,
    Welcome,
    decoder,
    encode,
)
from fogline.network.duties import Duties
from fogline.network.engagement import Engagement
from fogline.network.gate import Gate
from fogline.network.news import Cloud, News
from fogline.network.releases import Companion, Mirror, Releases, ask_parent
from fogline.network.shelf import Shelf
from fogline.network.turns import Turns
from fogline.network.uplink import Uplink
from fogline.network.worker.requests import Limits
from fogline.network.workshop import LONGEST
from fogline.storage import CorruptBlob, Database, MissingBlob, StorageError

if TYPE_CHECKING:
    from fogline.governance.certificates import CertificateFacts
    from fogline.network.downlink import Downlink, Session

log = logging.getLogger("fogline.network")
TICKETS, HOMES_KIND = "ticket", "homes"
HOMES = decoder(tuple[Home, ...])
GATHER = 2.0
"""Seconds that a round waits for more children when the first one is there, where none is expected by name."""


class Site(msgspec.Struct, frozen=True):
    """What the owner of a machine says of it."""

    client: str = ""
    """Whose data lies here, by the name that tasks give it; empty: the node's own name."""
    parameters: dict[str, str | int | float | bool] = {}
    """Parameters of tasks that hold here, such as where the data lies."""
    offers: Offers = NOTHING
    limits: Limits = Limits()
    trainings: int = 1
    """Trainings at the same time."""


class Node:
    """The parts of a node and the talk between them.

    Args:
        subject: who it is.
        database: its records.
        shelf: its blobs.
        folder: for unpacked code and logs.
        gate: decides what may run here.
        site: what its owner says.
        cloud: at the root, who hears everything.
        address: where children reach it; empty for a device.
    """

    def __init__(
        self,
        subject: Subject,
        database: Database,
        shelf: Shelf,
        folder: Path,
        gate: Gate,
        site: Site,
        cloud: Cloud | None = None,
        address: str = "",
    ) -> None:
        self.subject = subject
        self.name = subject.name
        self.database = database
        self.shelf = shelf
        self.folder = folder
        self.gate = gate
        self.site = site
        self.cloud = cloud
        self.address = address
        self.turns = Turns(site.trainings, lambda busy: self.on_change(Change("training" if busy else "idle")))
        self.uplink: Uplink | None = None
        self.downlink: Downlink | None = None
        self.releases: Releases | None = None
        """Where models come from that are served here or below."""
        self.companion: Companion | None = None
        """The part that serves, where there is one."""
        self.duties = Duties(self)
        self.news = News(self)
        self._instance = secrets.token_hex(8)
        self.homes: tuple[Home, ...] = ()
        """Where this node's children may go instead."""
        self.on_change: Callable[[Change], None] = lambda _: None
        """Told of what people may want to see."""

    # Life.

    async def close(self) -> None:
        """Stop: the journal keeps what was."""
        if self.uplink is not None:
            self.uplink.send(Leaving())
        await self.duties.close()

    # From above.

    def present(self) -> Present:
        """How the node presents itself."""
        serves = None if self.companion is None else self.companion.channel
        jobs = tuple(self._engagements)
        return Present(PROTOCOL, self.site.offers, self.address, jobs, serves, self._instance, self.gate.holds)

    def connected(self, parent: str, welcome: Welcome) -> None:
        """The parent is there (again)."""
        log.info("%s is connected to %s", self.name, parent)
        self.on_change(Change("connected", parent))
        self._take_homes(parent, welcome.homes)
        self.take_revoked(welcome.revoked)
        if self.uplink is not None and welcome.holds != self.gate.holds:
            self.uplink.send(Revoked(self.gate.revoked))  # The parent has forgotten somebody.
        if isinstance(self.releases, Mirror):
            self.releases.connected()
            self.fresh(welcome.timestamp)
            if self.releases.is_ahead_of(welcome.timestamp):
                self.news.tell(Shown(self.releases.witness))
        self.duties.connected(parent)
        self.news.repeat()
        for session in self._sessions():
            self._settle(session.present.jobs)

    def disconnected(self, parent: str, why: str) -> None:
        """The parent is gone; the node goes on with what it has."""
        log.warning("%s lost %s: %s", self.name, parent, why)
        self.on_change(Change("lost", parent, why))

    def from_parent(self, parent: str, frame: Down) -> None:
        """The parent said something."""
        match frame:
            case Said():
                engagement = self._engagements.get(frame.job)
                if engagement is not None and engagement.parent == parent:
                    engagement.from_parent(frame)
            case Offer(ticket=ticket):
                self.duties.offered(ticket, parent)
            case Over(job=job):
                self.duties.ended_above(job)
            case Revoked(revoked=revoked):
                self.take_revoked(revoked)
            case Homes(homes=homes):
                self._take_homes(parent, homes)
            case Fresh(timestamp=timestamp):
                self.fresh(timestamp)
            case Welcome():
                pass

    async def rested(self) -> None:
        """Wait for a moment at which nothing is trained here."""
        await self.turns.idle()

    def _take_homes(self, parent: str, homes: tuple[Home, ...]) -> None:
        """Where a device may go when this parent is gone; an aggregator hands the list on."""
        if self.uplink is None or not homes:
            return
        if self.downlink is not None:
            self.homes = homes
            self.say_to_all(Homes(homes))
            return
        known = {home.name: home for home in self.uplink.homes}
        first = [self.uplink.own] + ([known[parent]] if parent in known and parent != self.uplink.own.name else [])
        self.uplink.homes = first + [home for home in homes if home not in first and home.name != parent]
        try:
            self.database.put(HOMES_KIND, self.name, encode(tuple(self.uplink.homes)))
        except StorageError as error:
            log.warning("%s will not know its other parents after a restart: %s", self.name, error)

    def take_revoked(self, signed: tuple[bytes, ...], below: bool = False) -> None:
        """Cut nodes off, here and below, if the lists say more. ``below``: a child has sent them."""
        try:
            newer = bool(signed) and self.gate.take_revoked(signed)
        except StorageError as error:  # It holds, but only for now.
            log.error("%s cannot keep the list of revoked nodes: %s", self.name, error)
            newer = True
        if newer:
            self.spread_revoked()
        if newer and below and self.uplink is not None:
            self.uplink.send(Revoked(self.gate.revoked))
        if newer and below and self.cloud is not None:
            self.cloud.recalled()

    def spread_revoked(self) -> None:
        """There are newer lists of revoked nodes: who is on them is cut off, the others get them."""
        for session in self._sessions():
            why = self.refusal(session.subject, session.serial)
            if why is None:
                session.send(Revoked(self.gate.revoked))
            else:
                session.end(why)
        if self.downlink is not None:
            self.news.tell(Holds(self.name, self.gate.holds))

    def twins(self, name: str, here: str, there: str) -> None:
        """A second program shows a child's identity."""
        log.warning("%s: two programs, at %s and %s, use the identity of %s", self.name, here, there, name)
        self.news.tell(Twins(name, self.name, here, there))

    # From below.

    def refusal(self, subject: Subject, serial: str) -> str | None:
        """Why a node may not connect here; None if it may."""
        return self.gate.refusal(subject, serial)

    def arrived(self, session: Session) -> Welcome:
        """A child is there (again)."""
        log.info("%s connected to %s", session.name, self.name)
        self.news.seen(self._seen(session, up=True), session.name)
        if self.cloud is not None:
            self.cloud.arrived(session.name, member_since(session.serial))
        self._settle(session.present.jobs)
        for engagement in self._engagements.values():
            self._offer(session, engagement.ticket)
        if session.present.address:
            self._renew_homes()
        timestamp = b"" if self.releases is None else self.releases.timestamp
        lists = () if session.present.holds == self.gate.holds else self.gate.revoked
        return Welcome(self.name, self._homes_for(session), lists, self.gate.holds, timestamp)

    def departed(self, session: Session) -> None:
        """A child is gone."""
        log.info("%s left %s: %s", session.name, self.name, session.why)
        self.news.seen(self._seen(session, up=False), session.name)
        self.news.lost(session.name)
        for engagement in self._engagements.values():
            engagement.child_left(session.name)

    def from_child(self, session: Session, frame: Up) -> None:
        """A child said something."""
        lie = claim(session, frame)
        if lie is not None:
            log.warning("%s cut %s off: %s", self.name, session.name, lie)
            session.end(lie)
            return
        match frame:
            case Entered(job=job, hello=hello):
                if job in self._engagements:
                    self._engagements[job].child_entered(session.name, hello)
            case Away(job=job, why=why):
                if job in self._engagements:
                    self._engagements[job].child_left(session.name)
                    self.tell(Told(job, self.name, "away", session.name, why[:LONGEST]))
            case Said(job=job):
                if frame.blob is not None and frame.blob.data:
                    self.carried(0, frame.blob.size)
                if job in self._engagements:
                    self._engagements[job].from_child(session.name, frame)
            case Seen():
                self.news.seen(frame, session.name)
            case Holds() | Twins():
                self.news.tell(frame)
            case Shown(timestamp=timestamp):
                if isinstance(self.releases, Mirror):
                    self.releases.remember(timestamp)
                self.news.tell(frame)
            case Revoked(revoked=revoked):
                self.take_revoked(revoked, below=True)
            case Told(job=job):
                if job in self._engagements:
                    self.tell(frame)
            case Unsure(jobs=jobs):
                self._settle(jobs)
            case Became(outcome=outcome):
                if self.releases is not None:
                    self.releases.became(outcome)
            case Measured(vitals=vitals):
                if self.releases is not None:
                    self.releases.measured(vitals)
            case Leaving():
                session.end("it left")
            case Present():
                session.end("it presented itself twice")

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a blob is not wanted; None if it is."""
        engagement = self._engagements.get(push.job)
        if self.cloud is not None and not push.job:
            return self.cloud.wants(subject, push)
        if engagement is None:
            return f"there is no job {push.job} here"
        return None if engagement.expects(subject.name, push.task) else "nobody waits for that update"

    def carried(self, down: int, up: int) -> None:
        """So many bytes of blobs went to a child, or came from one."""
        self.on_change(Change("bytes", down=down, up=up))

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
        for engagement in self._engagements.values():
            blob = engagement.model(digest)
            if blob is not None:
                if self.uplink is not None:
                    await self.uplink.fetch(blob)
                return await asyncio.to_thread(self.shelf.blobs.path, digest), blob.size
        size = await self.weigh(digest)
        assert self.releases is not None
        return await self.releases.obtain(digest, size), size

    async def _recheck(self, digest: str) -> None:
        """Delete a blob that is damaged here."""
        if isinstance(self.releases, Mirror):
            await self.releases.recheck(digest)
        with suppress(CorruptBlob, MissingBlob):
            await asyncio.to_thread(self.shelf.blobs.verify, digest)

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
        if self.companion is not None:
            return await self.companion.infer(ask, seconds)
        if self.uplink is None:
            raise LookupError(f"{self.name} serves no model")
        return await ask_parent(self.uplink, ask, seconds)

    # Between.

    def say(self, child: str, frame: Down) -> None:
        """To a child; dropped where it is not connected."""
        if self.downlink is not None and child in self.downlink.sessions:
            self.downlink.sessions[child].send(frame)
            if isinstance(frame, Said) and frame.blob is not None and frame.blob.data:
                self.carried(frame.blob.size, 0)

    def fresh(self, timestamp: bytes) -> None:
        """There is a signed timestamp of releases: whoever serves looks what is new, and the children are told."""
        if not isinstance(self.releases, Mirror) or self.releases.fresh(timestamp):
            self.say_to_all(Fresh(timestamp))
        if self.companion is not None and timestamp:
            self.companion.fresh(timestamp)

    def tell(self, told: Told) -> None:
        """Something for a job's report."""
        self.news.tell(told)

    def _settle(self, jobs: Iterable[str]) -> None:
        """Children take part in these jobs: whoever knows that one is over says so."""
        unknown = [job for job in jobs if not self.duties.knows(job)]
        if self.cloud is None and unknown and self.uplink is not None:
            self.uplink.send(Unsure(tuple(unknown)))
        for job in unknown:
            if self.cloud is not None and self.cloud.has_ended(job):
                self.duties.ended_above(job)

    def say_to_all(self, frame: Down) -> None:
        """To every child."""
        for session in self._sessions():
            session.send(frame)

    def _sessions(self) -> list[Session]:
        return [] if self.downlink is None else list(self.downlink.sessions.values())

    def _seen(self, session: Session, up: bool) -> Seen:
        why = "" if up else session.why
        present = session.present
        return Seen(
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

    def offer(self, ticket: Ticket) -> None:
        """Tell the children of a job."""
        for session in self._sessions():
            self._offer(session, ticket)

    def log_file(self, job: str) -> Path:
        """What a job's code printed on this node."""
        return self.folder / "logs" / f"{job}.log"

    @property
    def _engagements(self) -> dict[str, Engagement]:
        return self.duties.engagements

    def _offer(self, session: Session, ticket: Ticket) -> None:
        lack = None if session.present.address else missing(ticket.needs, session.present.offers)
        if lack is None:
            session.send(Offer(msgspec.structs.replace(ticket, depth=ticket.depth + 1)))
        else:
            self.tell(Told(ticket.job, self.name, "not offered", session.name, lack))

    def _homes_for(self, session: Session) -> tuple[Home, ...]:
        """Other parents for a child's children, or for the child itself."""
        if session.present.address:
            return self.siblings()
        return self.homes

    def siblings(self) -> tuple[Home, ...]:
        """The aggregators below this node, as parents."""
        return tuple(Home(s.name, s.present.address) for s in self._sessions() if s.present.address)

    def _renew_homes(self) -> None:
        homes = self.siblings()
        for session in self._sessions():
            if session.present.address:
                session.send(Homes(homes))

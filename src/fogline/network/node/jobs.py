"""The jobs that a node takes part in: how it comes to them, and how it leaves them."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fogline import logs
from fogline.governance.policy.offers import missing
from fogline.governance.policy.protection import keeps_reasons
from fogline.governance.subject import fits
from fogline.network.node.context import NodeContext
from fogline.network.node.participation.charging import Charging
from fogline.network.node.participation.frozen import frozen_values
from fogline.network.node.participation.participation import JobParticipation
from fogline.network.node.participation.survey import survey_of
from fogline.network.node.site.admission import NotAllowedError, UnapprovedError
from fogline.network.node.status import StatusChange
from fogline.network.timing import JOIN_WINDOW
from fogline.network.transport.messages import JobAnnouncement, JobEnded, JobLog, LeftJob, Offer
from fogline.network.transport.session import Session
from fogline.network.worker.client import LONGEST, WorkerClient, WorkerError
from fogline.network.worker.requests import Open
from fogline.processes.messages import decoder, encode
from fogline.processes.tasks import Tasks
from fogline.retries import REPORT_AGAIN
from fogline.storage import StorageError

if TYPE_CHECKING:
    from fogline.nodes.aggregator import Aggregator
    from fogline.nodes.device import Device

log = logging.getLogger("fogline.network")
ANNOUNCEMENTS = "announcement"
VIEWS = "views"
"""In a device's folder: copies of the site's tables, by the job."""
MakeAggregator = Callable[[str | None], "Aggregator"]


class Kept(msgspec.Struct, frozen=True):
    """A job that this node takes part in, and below whom."""

    announcement: JobAnnouncement
    parent: str


KEPT = decoder(Kept)


class JobManager:
    """A node's participations by job.

    Args:
        node: whose they are.
    """

    def __init__(self, node: NodeContext) -> None:
        self.participations: dict[str, JobParticipation] = {}
        self.closed: str | None = None
        """Why no job runs now, where the owner says so."""
        self._node = node
        self._starting: dict[str, JobAnnouncement] = {}
        """Jobs that are being started, as they were announced last."""
        self._over: set[str] = set()
        """Jobs that ended while they were being started."""
        self._tasks = Tasks(node.name)

    async def start(self) -> None:
        """Go on with the jobs of before."""
        self._go_on(await asyncio.to_thread(self._node.database.all, ANNOUNCEMENTS))

    async def close(self) -> None:
        """Stop: the journal keeps what was."""
        await self._tasks.close()
        for participation in self.participations.values():
            await participation.close("the node stops")

    async def pause(self, why: str) -> None:
        """Take part in no job, for now; what was begun is begun again later."""
        self.closed = why
        for participation in list(self.participations.values()):
            del self.participations[participation.job]
            participation.refuse(why)
            await participation.close(why)

    def resume(self) -> None:
        """Take part in jobs again."""
        self.closed = None
        self._go_on(self._node.database.all(ANNOUNCEMENTS))

    def knows(self, job: str) -> bool:
        """Whether the node takes part, or is about to."""
        return job in self.participations or job in self._starting

    def needs(self, job: str) -> bool:
        """Whether the node takes part in a job, or will, such as when the owner's hours are open again."""
        return self.knows(job) or self._node.database.get(ANNOUNCEMENTS, job) is not None

    def engage(self, participation: JobParticipation, parent: str | None) -> None:
        """Begin to take part in a job, and tell the children of it."""
        self.participations[participation.job] = participation
        self._tasks.spawn(self._take_part(participation, parent))
        for session in self._node.sessions():
            self.offer(session, participation.announcement)

    def offer(self, session: Session, announcement: JobAnnouncement) -> None:
        """Tell a child of a job, if the job is for it, and it has what that needs."""
        lack = None if session.present.address else missing(announcement.needs, session.present.offers)
        if not fits(session.name, announcement.nodes):
            lack = f"The job is for the nodes {', '.join(announcement.nodes)}: the role of who submitted it ends there."
        if lack is None:
            session.send(Offer(msgspec.structs.replace(announcement, depth=announcement.depth + 1)))
        else:
            self._node.tell(JobLog(announcement.job, self._node.name, "not offered", session.name, lack))

    def offered(self, announcement: JobAnnouncement, parent: str) -> None:
        """The parent has a job."""
        participation = self.participations.get(announcement.job)
        if participation is None:
            self._engage_soon(announcement, parent)
            return
        participation.enter()
        if announcement.approvals != participation.announcement.approvals:
            self._tasks.spawn(self._owners_spoke(participation, announcement))

    def renew(self, participation: JobParticipation, announcement: JobAnnouncement) -> None:
        """Go on with a job as it is announced now, and tell the children, of whom some may have waited for that."""
        participation.announcement = announcement
        for session in self._node.sessions():
            self.offer(session, announcement)

    def connected(self, parent: str) -> None:
        """A parent is there (again): jobs go on below it."""
        for participation in list(self.participations.values()):
            if participation.parent == parent:
                participation.enter()
            else:
                self._tasks.spawn(self._move(participation, parent))

    def ended_above(self, job: str) -> None:
        """A job is over: what is kept for it may go."""
        participation = self.participations.get(job)
        if participation is not None:
            self._tasks.spawn(self._forget(participation))
            return
        if job in self._starting:
            self._over.add(job)
        self._node.say_to_all(JobEnded(job))

    def worker_client(
        self,
        announcement: JobAnnouncement,
        code: Path,
        client: str = "",
        frozen: str = "",
        views: Mapping[str, str] | None = None,
    ) -> WorkerClient:
        """A worker process for a job.

        Args:
            announcement: the job.
            code: where its code lies.
            client: whose data it trains on; empty: nobody's.
            frozen: file of the model's frozen entries; empty: it has none, or the worker needs no whole model.
            views: copies of the site's tables, by the task's parameter.
        """
        site = self._node.site
        opening = Open(
            str(code),
            announcement.text,
            announcement.layout,
            announcement.depth,
            self._node.name,
            client,
            {**site.parameters, **(views or {})},
            site.limits,
            announcement.job,
            frozen,
        )
        hides = self._node.cloud is None and keeps_reasons(announcement.text)
        return WorkerClient(opening, self._node.log_file(announcement.job), keeps_reasons=hides)

    # Inside.

    def _go_on(self, announcements: Iterable[tuple[str, bytes]]) -> None:
        for _, body in announcements:
            kept: Kept = KEPT.decode(body)
            self._engage_soon(kept.announcement, kept.parent)

    def _engage_soon(
        self, announcement: JobAnnouncement, parent: str, worker_client: WorkerClient | None = None
    ) -> None:
        fresh = announcement.job not in self._starting
        self._starting[announcement.job] = announcement
        if fresh:
            self._tasks.spawn(self._engage(announcement, parent, worker_client))

    async def _engage(self, announcement: JobAnnouncement, parent: str, worker_client: WorkerClient | None) -> None:
        """Look at a job, and take part if it may run here.

        Args:
            announcement: the job.
            parent: below whom, unless that has changed.
            worker_client: where it was loaded before.
        """
        node, uplink = self._node, self._node.uplink
        assert uplink is not None
        logs.begin(announcement.job)
        try:
            if self.closed is not None:
                await self._put_off(announcement, parent, worker_client, self.closed)
                return
            participation, approved = await self._prepared(announcement, parent, worker_client)
        except (NotAllowedError, WorkerError, LookupError, StorageError, ValueError) as error:
            self._say_why_not(announcement, error)
            participation, approved = None, ()
        finally:
            newest = self._starting.pop(announcement.job)
        if participation is None:
            if newest.approvals != announcement.approvals:  # Owners spoke while it was looked at.
                self._engage_soon(newest, parent)
        elif announcement.job in self._over:
            self._over.discard(announcement.job)
            await participation.close()
            await asyncio.to_thread(self.clear, announcement.job)
        elif self.closed is not None:
            await participation.close(self.closed)
        else:
            await node.audit.record(
                "job.accepted",
                node.name,
                announcement.job,
                bundle=announcement.bundle.digest,
                tags=node.site.offers.tags,
                approved=approved,
            )
            self.engage(participation, uplink.parent or parent)
            if newest.approvals != announcement.approvals:
                await self._owners_spoke(participation, newest)

    def _say_why_not(self, announcement: JobAnnouncement, error: Exception) -> None:
        """Tell the owner, the log and the parent why this node does not take part."""
        node, unapproved = self._node, isinstance(error, UnapprovedError)
        log.warning("%s does not take part in job %s: %s", node.name, announcement.job, error)
        if isinstance(error, NotAllowedError):
            why, bundle = str(error)[:LONGEST], announcement.bundle.digest
            what = "job.waits" if unapproved else "job.refused"
            node.audit.note(what, node.name, announcement.job, why=why, bundle=bundle)
        node.on_change(StatusChange("refused", announcement.job, str(error)))
        assert node.uplink is not None
        node.uplink.send(LeftJob(announcement.job, str(error), unapproved))

    async def _owners_spoke(self, participation: JobParticipation, announcement: JobAnnouncement) -> None:
        """Owners said more to a job in which this node takes part: it goes on, or leaves it."""
        node = self._node
        try:
            path = node.value_store.blobs.path(announcement.bundle.digest)
            await asyncio.to_thread(node.admission.admit, announcement, path)
            body = encode(Kept(announcement, participation.parent or ""))
            await asyncio.to_thread(node.database.put, ANNOUNCEMENTS, announcement.job, body)
        except (NotAllowedError, StorageError) as error:
            self._say_why_not(announcement, error)
            await self._forget(participation)
            return
        self.renew(participation, announcement)

    async def _put_off(
        self, announcement: JobAnnouncement, parent: str, worker_client: WorkerClient | None, why: str
    ) -> None:
        """Keep a job for later."""
        node = self._node
        await asyncio.to_thread(node.database.put, ANNOUNCEMENTS, announcement.job, encode(Kept(announcement, parent)))
        assert node.uplink is not None
        node.uplink.send(LeftJob(announcement.job, why))
        if worker_client is not None:
            await worker_client.close(why)

    async def _prepared(
        self, announcement: JobAnnouncement, parent: str, worker_client: WorkerClient | None
    ) -> tuple[JobParticipation, tuple[str, ...]]:
        """All that is needed to take part, and who approved it; what cannot be had ends the worker."""
        node, uplink = self._node, self._node.uplink
        assert uplink is not None
        try:
            await uplink.fetch(announcement.bundle)
            code = await asyncio.to_thread(
                node.admission.admit, announcement, node.value_store.blobs.path(announcement.bundle.digest)
            )
            approved = await asyncio.to_thread(node.admission.approved_by, announcement)
            views = await self._views(announcement)
            async with frozen_values(node, announcement) as frozen:
                worker_client = worker_client or self._worker_client_of(announcement, code, frozen, views)
                participation = await self._prepare(announcement, worker_client)
                body = encode(Kept(announcement, uplink.parent or parent))
                await asyncio.to_thread(node.database.put, ANNOUNCEMENTS, announcement.job, body)
        except BaseException:
            if worker_client is not None:
                await worker_client.close()
            raise
        return participation, approved

    async def _views(self, announcement: JobAnnouncement) -> dict[str, str]:
        """At a device: copies of the site's tables, as the owner lets this job see them."""
        tables = self._node.admission.tables() if self._leaf else ()
        if not tables:
            return {}
        from fogline.network.node.site.views import make_views  # Not above: who has no tables needs no arrays here.

        folder = self._node.admission.folder
        return await asyncio.to_thread(make_views, tables, announcement.text, folder, folder / VIEWS / announcement.job)

    def _worker_client_of(
        self, announcement: JobAnnouncement, code: Path, frozen: str, views: dict[str, str]
    ) -> WorkerClient:
        """Where this node computes. An aggregator only hands frozen entries on."""
        if not self._leaf:
            return self.worker_client(announcement, code)
        return self.worker_client(announcement, code, self._node.site.client or self._node.name, frozen, views)

    @property
    def _leaf(self) -> bool:
        return self._node.downlink is None

    async def _prepare(self, announcement: JobAnnouncement, worker_client: WorkerClient) -> JobParticipation:
        node = self._node
        if not self._leaf:
            make, surveyor = self._aggregator_of(announcement)
            return JobParticipation(announcement, node, worker_client, make, surveyor=surveyor)
        if not worker_client.loaded:
            node.on_change(StatusChange("loading", announcement.job))
        opened = await worker_client.load(lambda why: self._is_loading(announcement.job, why))
        node.on_change(StatusChange("idle"))
        return JobParticipation(
            announcement,
            node,
            worker_client,
            lambda parent: self._device(parent, demands=opened.steps, keeps=opened.keeps),
            leaf=True,
            samples=opened.samples,
            ranges=opened.ranges,
            trains=opened.trains,
            surveyor=(lambda parent: self._device(parent, demands=opened.summed, beside=True))
            if announcement.surveys
            else None,
            charging=Charging.of(announcement, node, opened.samples),
        )

    def _is_loading(self, job: str, why: str) -> None:
        """The job is not loaded yet; this node is not to be asked until it is.

        Raises:
            LookupError: it is over.
        """
        if job in self._over:
            self._over.discard(job)
            raise LookupError("the job is over")
        log.warning("%s has not loaded job %s yet: %s", self._node.name, job, why)
        assert self._node.uplink is not None
        self._node.uplink.send(LeftJob(job, why))

    def _device(
        self, parent: str | None, demands: int | None = None, keeps: bool = False, beside: bool = False
    ) -> Device:
        from fogline.nodes.device import Device

        assert parent is not None
        return Device(self._node.name, parent, retry=REPORT_AGAIN, demands=demands, keeps=keeps, beside=beside)

    def _aggregator_of(self, announcement: JobAnnouncement) -> tuple[MakeAggregator, MakeAggregator | None]:
        """What makes the machine that trains, and, if the job asks beside that, the one that asks."""
        from fogline.jobs.files.reading import parse_job
        from fogline.network.node.participation.aggregating import aggregator_maker, surveyor_maker

        name, job = self._node.name, parse_job(announcement.text)
        make = aggregator_maker(name, job, announcement, JOIN_WINDOW, REPORT_AGAIN)
        return make, surveyor_maker(name, job, announcement, REPORT_AGAIN) if announcement.surveys else None

    async def _move(self, participation: JobParticipation, parent: str) -> None:
        """The node has another parent now: it takes part in the job below that one."""
        if participation.over:
            return  # It is on its way already, and goes to whoever is the parent when it is there.
        await participation.leave()
        self.participations.pop(participation.job, None)
        self._engage_soon(participation.announcement, parent, participation.worker_client)

    async def _take_part(self, participation: JobParticipation, parent: str | None) -> None:
        await participation.run(parent)
        await self._forget(participation)

    async def _forget(self, participation: JobParticipation) -> None:
        if self.participations.get(participation.job) is not participation:
            return  # It was replaced by one below another parent, whose journal this is now.
        del self.participations[participation.job]
        self._node.say_to_all(JobEnded(participation.job))
        await participation.close()
        if self._node.cloud is None:
            await asyncio.to_thread(self.clear, participation.job)

    def clear(self, job: str) -> None:
        """Delete what is kept for a job that is over."""
        for journal in (job, survey_of(job)):
            values = self._node.database.values(journal)
            self._node.database.drop(journal)
            self._node.value_store.release(values.values())
        self._node.database.delete(ANNOUNCEMENTS, job)
        self._node.admission.uses.ended(job)
        shutil.rmtree(self._node.admission.folder / VIEWS / job, ignore_errors=True)

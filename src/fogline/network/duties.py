"""The jobs that a node takes part in: how it comes to them, and how it leaves them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fogline.network import logs
from fogline.network.changes import Change
from fogline.network.contract import Away, Over, Ticket, decoder, encode
from fogline.network.engagement import AGAIN, Engagement
from fogline.network.gate import NotAllowed
from fogline.network.tasks import Tasks
from fogline.network.worker.requests import Open
from fogline.network.workshop import WorkerFailed, Workshop
from fogline.storage import StorageError

if TYPE_CHECKING:
    from fogline.network.node import Node
    from fogline.nodes.aggregator import Aggregator
    from fogline.nodes.device import Device

log = logging.getLogger("fogline.network")
TICKETS = "ticket"
GATHER = 2.0
"""Seconds that a round waits for more children when the first one is there, where none is expected by name."""


class Kept(msgspec.Struct, frozen=True):
    """A job that this node takes part in, and below whom."""

    ticket: Ticket
    parent: str


KEPT = decoder(Kept)


class Duties:
    """A node's engagements by job.

    Args:
        node: whose they are.
    """

    def __init__(self, node: Node) -> None:
        self.engagements: dict[str, Engagement] = {}
        self.closed: str | None = None
        """Why no job runs now, where the owner says so."""
        self._node = node
        self._starting: set[str] = set()
        self._over: set[str] = set()
        """Jobs that ended while they were being started."""
        self._tasks = Tasks(node.name)

    async def start(self) -> None:
        """Go on with the jobs of before."""
        self._go_on(await asyncio.to_thread(self._node.database.all, TICKETS))

    async def close(self) -> None:
        """Stop: the journal keeps what was."""
        await self._tasks.close()
        for engagement in self.engagements.values():
            await engagement.close("the node stops")

    async def pause(self, why: str) -> None:
        """Take part in no job, for now; what was begun is begun again later."""
        self.closed = why
        for engagement in list(self.engagements.values()):
            del self.engagements[engagement.job]
            engagement.refuse(why)
            await engagement.close(why)

    def resume(self) -> None:
        """Take part in jobs again."""
        self.closed = None
        self._go_on(self._node.database.all(TICKETS))

    def knows(self, job: str) -> bool:
        """Whether the node takes part, or is about to."""
        return job in self.engagements or job in self._starting

    def engage(self, engagement: Engagement, parent: str | None) -> None:
        """Begin to take part in a job, and tell the children of it."""
        self.engagements[engagement.job] = engagement
        self._tasks.spawn(self._take_part(engagement, parent))
        self._node.offer(engagement.ticket)

    def offered(self, ticket: Ticket, parent: str) -> None:
        """The parent has a job."""
        engagement = self.engagements.get(ticket.job)
        if engagement is not None:
            engagement.enter()
        else:
            self._engage_soon(ticket, parent)

    def connected(self, parent: str) -> None:
        """A parent is there (again): jobs go on below it."""
        for engagement in list(self.engagements.values()):
            if engagement.parent == parent:
                engagement.enter()
            else:
                self._tasks.spawn(self._move(engagement, parent))

    def ended_above(self, job: str) -> None:
        """A job is over: what is kept for it may go."""
        engagement = self.engagements.get(job)
        if engagement is not None:
            self._tasks.spawn(self._forget(engagement))
            return
        if job in self._starting:
            self._over.add(job)
        self._node.say_to_all(Over(job))

    def workshop(self, ticket: Ticket, code: Path, client: str = "") -> Workshop:
        """A worker process for a job."""
        site = self._node.site
        opening = Open(str(code), ticket.text, ticket.layout, client, site.parameters, site.limits, ticket.job)
        return Workshop(opening, self._node.log_file(ticket.job))

    # Inside.

    def _go_on(self, tickets: Iterable[tuple[str, bytes]]) -> None:
        for _, body in tickets:
            kept: Kept = KEPT.decode(body)
            self._engage_soon(kept.ticket, kept.parent)

    def _engage_soon(self, ticket: Ticket, parent: str, workshop: Workshop | None = None) -> None:
        if ticket.job not in self._starting:
            self._starting.add(ticket.job)
            self._tasks.spawn(self._engage(ticket, parent, workshop))

    async def _engage(self, ticket: Ticket, parent: str, workshop: Workshop | None) -> None:
        """Look at a job, and take part if it may run here.

        Args:
            ticket: the job.
            parent: below whom, unless that has changed.
            workshop: where it was loaded before.
        """
        node, uplink = self._node, self._node.uplink
        assert uplink is not None
        logs.begin(ticket.job)
        try:
            if self.closed is not None:
                await self._put_off(ticket, parent, workshop, self.closed)
                return
            engagement = await self._prepared(ticket, parent, workshop)
        except (NotAllowed, WorkerFailed, LookupError, StorageError, ValueError) as error:
            log.warning("%s does not take part in job %s: %s", node.name, ticket.job, error)
            node.on_change(Change("refused", ticket.job, str(error)))
            uplink.send(Away(ticket.job, str(error)))
            return
        finally:
            self._starting.discard(ticket.job)
        if ticket.job in self._over:
            self._over.discard(ticket.job)
            await engagement.close()
            await asyncio.to_thread(self._clear, ticket.job)
        elif self.closed is not None:
            await engagement.close(self.closed)
        else:
            self.engage(engagement, uplink.parent or parent)

    async def _put_off(self, ticket: Ticket, parent: str, workshop: Workshop | None, why: str) -> None:
        """Keep a job for later."""
        node = self._node
        await asyncio.to_thread(node.database.put, TICKETS, ticket.job, encode(Kept(ticket, parent)))
        assert node.uplink is not None
        node.uplink.send(Away(ticket.job, why))
        if workshop is not None:
            await workshop.close(why)

    async def _prepared(self, ticket: Ticket, parent: str, workshop: Workshop | None) -> Engagement:
        """All that is needed to take part; what cannot be had ends the worker."""
        node, uplink = self._node, self._node.uplink
        assert uplink is not None
        try:
            await uplink.fetch(ticket.bundle)
            code = await asyncio.to_thread(node.gate.admit, ticket, node.shelf.blobs.path(ticket.bundle.digest))
            workshop = workshop or self._workshop_of(ticket, code)
            engagement = await self._prepare(ticket, workshop)
            body = encode(Kept(ticket, uplink.parent or parent))
            await asyncio.to_thread(node.database.put, TICKETS, ticket.job, body)
        except BaseException:
            if workshop is not None:
                await workshop.close()
            raise
        return engagement

    def _workshop_of(self, ticket: Ticket, code: Path) -> Workshop:
        """Where this node computes."""
        node = self._node
        return self.workshop(ticket, code, client=(node.site.client or node.name) if self._leaf else "")

    @property
    def _leaf(self) -> bool:
        return self._node.downlink is None

    async def _prepare(self, ticket: Ticket, workshop: Workshop) -> Engagement:
        node = self._node
        if not self._leaf:
            return Engagement(ticket, node, workshop, self._aggregator_of(ticket))
        if not workshop.loaded:
            node.on_change(Change("loading", ticket.job))
        opened = await workshop.load(lambda why: self._is_loading(ticket.job, why))
        node.on_change(Change("idle"))
        return Engagement(ticket, node, workshop, self._device, leaf=True, samples=opened.samples)

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
        self._node.uplink.send(Away(job, why))

    def _device(self, parent: str | None) -> Device:
        from fogline.nodes.device import Device

        assert parent is not None
        return Device(self._node.name, parent, retry=AGAIN)

    def _aggregator_of(self, ticket: Ticket) -> Callable[[str | None], Aggregator]:
        from fogline.network.aggregating import aggregator_maker

        return aggregator_maker(self._node.name, ticket, GATHER, AGAIN)

    async def _move(self, engagement: Engagement, parent: str) -> None:
        """The node has another parent now: it takes part in the job below that one."""
        await engagement.leave()
        self.engagements.pop(engagement.job, None)
        self._engage_soon(engagement.ticket, parent, engagement.workshop)

    async def _take_part(self, engagement: Engagement, parent: str | None) -> None:
        await engagement.run(parent)
        await self._forget(engagement)

    async def _forget(self, engagement: Engagement) -> None:
        if self.engagements.get(engagement.job) is not engagement:
            return  # It was replaced by one below another parent, whose journal this is now.
        del self.engagements[engagement.job]
        self._node.say_to_all(Over(engagement.job))
        await engagement.close()
        if self._node.cloud is None:
            await asyncio.to_thread(self._clear, engagement.job)

    def _clear(self, job: str) -> None:
        values = self._node.database.values(job)
        self._node.database.drop(job)
        self._node.shelf.release(values.values())
        self._node.database.delete(TICKETS, job)

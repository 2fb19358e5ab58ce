"""The jobs that a node takes part in: how it comes to them, and how it leaves them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

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
        self._tasks.cancel()
        for engagement in self.engagements.values():
            await engagement.close()

    async def pause(self, why: str) -> None:
        """Take part in no job, for now; what was begun is begun again later."""
        self.closed = why
        for engagement in list(self.engagements.values()):
            del self.engagements[engagement.job]
            engagement.refuse(why)
            await engagement.close()

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
        opening = Open(str(code), ticket.text, ticket.layout, client, site.parameters, site.limits)
        return Workshop(opening, self._node.log_file(ticket.job))

    # Inside.

    def _go_on(self, tickets: Iterable[tuple[str, bytes]]) -> None:
        for _, body in tickets:
            kept: Kept = KEPT.decode(body)
            self._engage_soon(kept.ticket, kept.parent)

    def _engage_soon(self, ticket: Ticket, parent: str) -> None:
        if ticket.job not in self._starting:
            self._starting.add(ticket.job)
            self._tasks.spawn(self._engage(ticket, parent))

    async def _engage(self, ticket: Ticket, parent: str) -> None:
        """Look at a job, and take part if it may run here. ``parent``: below whom, unless that has changed."""
        node = self._node
        uplink = node.uplink
        assert uplink is not None
        if self.closed is not None:
            await asyncio.to_thread(node.database.put, TICKETS, ticket.job, encode(Kept(ticket, parent)))
            uplink.send(Away(ticket.job, self.closed))
            self._starting.discard(ticket.job)
            return
        try:
            await uplink.fetch(ticket.bundle)
            code = await asyncio.to_thread(node.gate.admit, ticket, node.shelf.blobs.path(ticket.bundle.digest))
            engagement = await self._prepare(ticket, code)
            body = encode(Kept(ticket, uplink.parent or parent))
            await asyncio.to_thread(node.database.put, TICKETS, ticket.job, body)
        except (NotAllowed, WorkerFailed, LookupError, StorageError, ValueError) as error:
            log.warning("%s does not take part in job %s: %s", node.name, ticket.job, error)
            node.on_change(Change("refused", ticket.job, str(error)))
            uplink.send(Away(ticket.job, str(error)))
            return
        finally:
            self._starting.discard(ticket.job)
        parent = uplink.parent or parent
        if ticket.job in self._over:
            self._over.discard(ticket.job)
            await engagement.close()
            await asyncio.to_thread(self._clear, ticket.job)
        elif self.closed is not None:
            await engagement.close()
        else:
            self.engage(engagement, parent)

    async def _prepare(self, ticket: Ticket, code: Path) -> Engagement:
        node = self._node
        leaf = node.downlink is None
        workshop = self.workshop(ticket, code, client=(node.site.client or node.name) if leaf else "")
        if not leaf:
            return Engagement(ticket, node, workshop, self._aggregator_of(ticket))
        opened = await workshop.open()
        return Engagement(ticket, node, workshop, self._device, leaf=True, samples=opened.samples)

    def _device(self, parent: str | None) -> Device:
        from fogline.nodes.device import Device

        assert parent is not None
        return Device(self._node.name, parent, retry=AGAIN)

    def _aggregator_of(self, ticket: Ticket) -> Callable[[str | None], Aggregator]:
        from fogline.network.aggregating import aggregator_maker

        return aggregator_maker(self._node.name, ticket, GATHER, AGAIN)

    async def _move(self, engagement: Engagement, parent: str) -> None:
        """The node has another parent now: it takes part in the job below that one."""
        await engagement.close()
        self.engagements.pop(engagement.job, None)
        self._engage_soon(engagement.ticket, parent)

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

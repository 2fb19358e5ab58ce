"""Heads of audit logs: a parent keeps each child's newest, and a child its parent's, so that nobody can write the past
anew unseen.

Whoever shows a head proves with it that its log begins with what the other has seen of it. A log that does not is one
that was written anew, or went back to a backup: that stands in the other's log for good, and the operator is told.
"""

from __future__ import annotations

import asyncio
import logging

from fogline.governance.audit_log.export import ANCHORED
from fogline.governance.audit_log.heads import AuditHead, claimed_head, read_audit_head, sign_audit_head
from fogline.governance.audit_log.merkle import extends
from fogline.governance.errors import AuditLogError, TrustError
from fogline.governance.subject import Subject
from fogline.network.node.context import NodeContext
from fogline.network.node.services.base import Service, another
from fogline.network.timing import SHOWN_AGAIN
from fogline.network.transport.messages import AuditKnown, AuditShown, ForkedLog, Welcome
from fogline.network.transport.session import Session
from fogline.processes.tasks import Tasks
from fogline.storage import StorageError

log = logging.getLogger("fogline.network")
KEPT = "audit head"
"""Kind of the documents: the newest head of another node's audit log, by the node."""
FORKED = "audit.forked"


class AuditHeadService(Service[AuditShown | ForkedLog, AuditKnown | AuditShown]):
    """Shows the head of the log here, and keeps those of others."""

    def __init__(self, node: NodeContext) -> None:
        super().__init__(node)
        self._parent_has: int | None = None
        """Records of the log here whose head the parent keeps; None: it has not said so yet."""
        self._due: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        """Heads are taken one after the other, each beside the one that was kept before."""
        self._tasks = Tasks(node.name)
        node.audit.grown = self._grown

    def close(self) -> None:
        """Stop."""
        self._tasks.cancel()
        if self._due is not None:
            self._due.cancel()

    def arrived(self, session: Session) -> None:
        kept = self._kept(session.name)
        session.send(AuditKnown(0, b"") if kept is None else AuditKnown(kept.size, self._head_of(session.name)))

    def connected(self, parent: str, welcome: Welcome) -> None:
        self._parent_has = None

    def forbidden(self, child: Subject, frame: AuditShown | ForkedLog) -> str | None:
        return another(child.name, frame.witness) if isinstance(frame, ForkedLog) else None

    def from_child(self, session: Session, frame: AuditShown | ForkedLog) -> None:
        if isinstance(frame, ForkedLog):
            self.node.tell(frame)
            return
        self._tasks.spawn(self._answer(session, frame))

    def from_parent(self, parent: str, frame: AuditKnown | AuditShown) -> None:
        if isinstance(frame, AuditKnown):
            self._parent_has = frame.size
            self._tasks.spawn(self._look_back(frame.head))
            self._tasks.spawn(self._show_parent())
            return
        self._parent_has = frame.knows
        self._tasks.spawn(self._take(parent, frame))

    async def _look_back(self, data: bytes) -> None:
        """The parent holds a head of the log here. If the log does not reach so far, this node went back to a backup,
        and what it counted is not all that was."""
        head, log_here = claimed_head(data), self.node.audit.log
        if head is None or head.node != self.node.name or head.size <= log_here.head().size:
            return
        try:
            read_audit_head(data, self.node.admission.root)  # Nobody else can make it up.
            await asyncio.to_thread(self.node.admission.went_back)
        except (TrustError, StorageError) as error:
            log.error("%s: what its parent shows of its audit log cannot be heeded: %s", self.node.name, error)
            return
        log.error(
            "%s went back to a backup: its audit log had %d records and has %d. Under a policy that limits how many "
            "jobs may begin (signer.uses) none begins until the owner renews it",
            self.node.name,
            head.size,
            log_here.head().size,
        )

    def _head_of(self, node: str) -> bytes:
        return self.node.database.get(KEPT, node) or b""

    def _grown(self) -> None:
        if self._due is None and self.node.uplink is not None:
            self._due = asyncio.get_running_loop().call_later(SHOWN_AGAIN, self._show_soon)

    def _show_soon(self) -> None:
        self._due = None
        self._tasks.spawn(self._show_parent())

    async def _show_parent(self) -> None:
        uplink = self.node.uplink
        if uplink is None or uplink.parent is None or self._parent_has is None:
            return  # It is shown when the parent has said what it knows.
        frame = await self._shown(self._parent_has, uplink.parent)
        if frame is not None:
            uplink.send(frame)

    async def _answer(self, session: Session, frame: AuditShown) -> None:
        if not await self._take(session.name, frame):
            kept = self._kept(session.name)
            if kept is not None and not _answers(frame, kept):
                session.send(
                    AuditKnown(kept.size)
                )  # It did not hear of it: with a proof from there it can be believed.
            return
        self._grown()  # The parent's parent is to know of the child's.
        answer = await self._shown(frame.knows, session.name)
        if answer is not None:
            session.send(answer)

    async def _shown(self, since: int, to: str) -> AuditShown | None:
        """The head of the log here, with the proof that it begins with its first ``since`` records."""
        own, audit = None if self.node.credentials is None else self.node.credentials(), self.node.audit
        if own is None:
            return None
        head = audit.log.head()
        try:
            await audit.written(head.size)
            tree = await asyncio.to_thread(audit.log.tree, head.size) if 0 < since < head.size else None
        except (AuditLogError, StorageError) as error:
            log.error("%s cannot show its audit log: %s", self.node.name, error)
            return None
        kept = self._kept(to)
        path = () if tree is None else tree.consistency(since)
        return AuditShown(sign_audit_head(head, own), since, path, 0 if kept is None else kept.size)

    async def _take(self, node: str, frame: AuditShown) -> bool:
        """Keep another's head if it goes on from what was kept; whether it is newer, or another."""
        async with self._turn:
            return await self._take_next(node, frame)

    async def _take_next(self, node: str, frame: AuditShown) -> bool:
        try:
            head = read_audit_head(frame.head, self.node.admission.root)
        except TrustError as error:
            log.warning("%s was shown no audit log by %s: %s", self.node.name, node, error)
            return False
        kept = self._kept(node)
        if (
            head.node != node
            or not head.size
            or (kept is not None and (kept.size, kept.root) == (head.size, head.root))
            or (kept is not None and not _answers(frame, kept))
        ):
            return False
        facts = {"size": head.size, "root": head.root.hex()}
        if kept is None or extends(kept.root, kept.size, head.root, head.size, frame.path):
            await self.node.audit.witness(ANCHORED, node, **facts)
        else:
            await self._accuse(head, kept)
        try:
            self.node.database.put(KEPT, node, frame.head)
        except StorageError as error:
            log.error("%s cannot keep the head of an audit log: %s", self.node.name, error)
        return True

    async def _accuse(self, head: AuditHead, kept: AuditHead) -> None:
        log.error("%s: the audit log of %s does not begin with what it was", self.node.name, head.node)
        facts = {"size": head.size, "root": head.root.hex(), "was": kept.size, "was_root": kept.root.hex()}
        await self.node.audit.witness(FORKED, head.node, **facts)
        self.node.tell(ForkedLog(head.node, self.node.name, head.size, kept.size))

    def _kept(self, node: str) -> AuditHead | None:
        """It was verified before it was kept."""
        data = self.node.database.get(KEPT, node)
        return None if data is None else claimed_head(data)


def _answers(frame: AuditShown, kept: AuditHead) -> bool:
    """Whether what is shown can be held against what was kept: its proof goes on from there, or none can, since the log
    has fewer records than it had."""
    head = claimed_head(frame.head)
    return frame.since == kept.size or head is None or head.size < kept.size

"""Who is there: children come and go, and the cloud hears of it."""

from __future__ import annotations

import logging

from fogline.governance.identity.serials import member_since
from fogline.governance.subject import Subject
from fogline.network.node.context import NodeContext
from fogline.network.node.services.base import Service, another
from fogline.network.transport.messages import ClonedIdentity, Leaving, NodeSeen, Present, Welcome
from fogline.network.transport.session import Session

log = logging.getLogger("fogline.network")
FromChild = Present | Leaving | NodeSeen | ClonedIdentity


class PresenceService(Service[FromChild, Welcome]):
    """Tells the cloud of the nodes below."""

    def __init__(self, node: NodeContext) -> None:
        super().__init__(node)
        self._there: dict[str, tuple[str, NodeSeen]] = {}
        """Nodes below that are connected, and the child behind which they are."""

    def forbidden(self, child: Subject, frame: FromChild) -> str | None:
        return another(child.name, frame.name) if isinstance(frame, NodeSeen | ClonedIdentity) else None

    def from_child(self, session: Session, frame: FromChild) -> None:
        match frame:
            case NodeSeen():
                self._seen(frame, session.name)
            case ClonedIdentity():
                self.node.tell(frame)
            case Leaving():
                session.end("it left")
            case Present():
                session.end("it presented itself twice")

    def from_parent(self, parent: str, frame: Welcome) -> None:
        """It was welcomed when it came."""

    def connected(self, parent: str, welcome: Welcome) -> None:
        for _, seen in self._there.values():  # The cloud may have been restarted: all that are there are told anew.
            self.node.tell(seen)

    def arrived(self, session: Session) -> None:
        self._seen(self._child(session, up=True), session.name)
        if self.node.cloud is not None:
            self.node.cloud.arrived(session.name, member_since(session.serial))

    def departed(self, session: Session) -> None:
        self._seen(self._child(session, up=False), session.name)
        # What is behind it tells of itself again when it is back.
        self._there = {name: entry for name, entry in self._there.items() if entry[0] != session.name}

    def twins(self, name: str, here: str, there: str) -> None:
        """A second program shows a child's identity."""
        log.warning("%s: two programs, at %s and %s, use the identity of %s", self.node.name, here, there, name)
        self.node.tell(ClonedIdentity(name, self.node.name, here, there))

    def _seen(self, seen: NodeSeen, child: str) -> None:
        """A node came or went behind a child."""
        if seen.up:
            self._there[seen.name] = (child, seen)
        elif seen.name in self._there and self._there[seen.name][1].parent == seen.parent:
            del self._there[seen.name]
        self.node.tell(seen)

    def _child(self, session: Session, up: bool) -> NodeSeen:
        present = session.present
        return NodeSeen(
            session.name,
            self.node.name,
            session.subject.role,
            up,
            present.offers,
            "" if up else session.why,
            present.serves,
            session.address,
            present.instance,
            present.holds,
        )

"""The ends of nodes' ledgers of privacy: parents keep the newest of each node below, and show it when it comes back."""

from __future__ import annotations

import logging

from fogline.governance.subject import Subject
from fogline.network.node.services.base import Service, another
from fogline.network.transport.messages import LedgerAsked, LedgerEnd, Welcome
from fogline.network.transport.session import Session
from fogline.privacy.accounting.heads import read_head, verified_head
from fogline.privacy.accounting.ledger import LedgerError
from fogline.storage import StorageError

log = logging.getLogger("fogline.network")
KEPT = "ledger"
"""Kind of the documents: the newest end of a node's ledger, by the node."""
FromChild = LedgerEnd | LedgerAsked


class LedgerService(Service[FromChild, LedgerEnd]):
    """Keeps ends of ledgers."""

    def forbidden(self, child: Subject, frame: FromChild) -> str | None:
        return another(child.name, frame.node)

    def arrived(self, session: Session) -> None:
        """Show a child what is known of its ledger; where nothing is, somebody above may know."""
        held = self.node.database.get(KEPT, session.name)
        if held is not None:
            session.send(LedgerEnd(session.name, held))
        elif self.node.uplink is not None:
            self.node.uplink.send(LedgerAsked(session.name))

    def connected(self, parent: str, welcome: Welcome) -> None:
        """Show the parent the end of the ledger here, if there is one, and what is known of those below."""
        uplink, spending = self.node.uplink, self.node.spending
        assert uplink is not None
        try:
            own = spending.end() if self.node.downlink is None else None
        except (LedgerError, StorageError) as error:  # It is refused, with the reason, when it is charged.
            log.error("%s: %s", self.node.name, error)
            own = None
        if own is not None:
            uplink.send(LedgerEnd(self.node.name, own))
        if self.node.downlink is not None:
            for name, held in self.kept():
                uplink.send(LedgerEnd(name, held))

    def kept(self) -> list[tuple[str, bytes]]:
        """The newest end of each ledger that is known here, as its node signed it, by the node."""
        return self.node.database.all(KEPT)

    def from_child(self, session: Session, frame: FromChild) -> None:
        held = self.node.database.get(KEPT, frame.node)
        if isinstance(frame, LedgerAsked):
            if held is not None:
                session.send(LedgerEnd(frame.node, held))
            elif self.node.uplink is not None:
                self.node.uplink.send(frame)
            return
        if self._take(frame, held):
            if self.node.uplink is not None:
                self.node.uplink.send(frame)
        elif held is not None and held != frame.data:
            session.send(LedgerEnd(frame.node, held))  # It has forgotten something, or is another's copy.

    def from_parent(self, parent: str, frame: LedgerEnd) -> None:
        if frame.node != self.node.name:
            if self._take(frame, self.node.database.get(KEPT, frame.node)):
                self._hand_down(frame)
            return
        try:
            self.node.spending.shown(frame.data)
        except (LedgerError, StorageError) as error:
            log.error("%s: %s", self.node.name, error)

    def _hand_down(self, frame: LedgerEnd) -> None:
        if any(session.name == frame.node for session in self.node.sessions()):
            self.node.say(frame.node, frame)
        else:
            self.node.say_to_all(frame)

    def _take(self, frame: LedgerEnd, held: bytes | None) -> bool:
        """Keep an end that its node has signed, if it is newer than what is kept; whether it is."""
        head, before = read_head(frame.data), None if held is None else read_head(held)
        if head is None or head.node != frame.node or (before is not None and head.number <= before.number):
            return False
        if verified_head(frame.data, self.node.admission.root) is None:
            log.warning("%s was shown an end of a ledger that %s has not signed", self.node.name, frame.node)
            return False
        try:
            self.node.database.put(KEPT, frame.node, frame.data)
        except StorageError as error:
            log.error("%s cannot keep the end of a ledger: %s", self.node.name, error)
            return False
        return True

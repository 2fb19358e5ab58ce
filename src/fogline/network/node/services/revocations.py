"""Nodes that are cut off: the lists of them go up and down until all have them."""

from __future__ import annotations

import logging

from fogline.governance.subject import Subject
from fogline.network.node.services.base import Service, another
from fogline.network.transport.messages import HeldRevocations, Revoked, Welcome
from fogline.network.transport.session import Session
from fogline.storage import StorageError

log = logging.getLogger("fogline.network")
FromChild = Revoked | HeldRevocations


class RevocationService(Service[FromChild, Revoked]):
    """Cuts nodes off."""

    def forbidden(self, child: Subject, frame: FromChild) -> str | None:
        return another(child.name, frame.name) if isinstance(frame, HeldRevocations) else None

    def from_child(self, session: Session, frame: FromChild) -> None:
        if isinstance(frame, HeldRevocations):
            self.node.tell(frame)
        elif self._take(frame.revoked):
            self._send_up()
            if self.node.cloud is not None:
                self.node.cloud.recalled()

    def from_parent(self, parent: str, frame: Revoked) -> None:
        self._take(frame.revoked)

    def connected(self, parent: str, welcome: Welcome) -> None:
        self._take(welcome.revoked)
        if welcome.holds != self.node.admission.holds:  # The parent has forgotten somebody.
            self._send_up()

    def spread(self) -> None:
        """There are newer lists: who is on them is cut off, the others get them."""
        admission = self.node.admission
        for session in self.node.sessions():
            why = admission.refusal(session.subject, session.serial)
            if why is None:
                session.send(Revoked(admission.revoked))
            else:
                session.end(why)
        if self.node.downlink is not None:
            self.node.tell(HeldRevocations(self.node.name, admission.holds))

    def _send_up(self) -> None:
        if self.node.uplink is not None:
            self.node.uplink.send(Revoked(self.node.admission.revoked))

    def _take(self, signed: tuple[bytes, ...]) -> bool:
        """Cut nodes off, here and below, if the lists say more; whether they do."""
        try:
            newer = bool(signed) and self.node.admission.take_revoked(signed)
        except StorageError as error:  # It holds, but only for now.
            log.error("%s cannot keep the list of revoked nodes: %s", self.node.name, error)
            newer = True
        if newer:
            self.spread()
        return newer

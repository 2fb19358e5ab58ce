"""Where a node's children may go when it is gone, and where it may go itself."""

from __future__ import annotations

import logging
from typing import Never

from fogline.network.node.context import NodeContext
from fogline.network.node.services.base import Service
from fogline.network.transport.messages import ParentAddress, Parents, Welcome
from fogline.network.transport.session import Session
from fogline.network.transport.uplink import Uplink
from fogline.processes.messages import decoder, encode
from fogline.storage import Database, StorageError

log = logging.getLogger("fogline.network")
KIND = "parent_addresses"
ADDRESSES = decoder(tuple[ParentAddress, ...])


class ParentService(Service[Never, Parents]):
    """Hands the aggregators of a tier on, as parents of the next."""

    def __init__(self, node: NodeContext) -> None:
        super().__init__(node)
        self._others: tuple[ParentAddress, ...] = ()
        """Where this node's children may go instead."""

    def siblings(self) -> tuple[ParentAddress, ...]:
        """The aggregators below this node, as parents."""
        return tuple(
            ParentAddress(session.name, session.present.address)
            for session in self.node.sessions()
            if session.present.address
        )

    def offered(self, session: Session) -> tuple[ParentAddress, ...]:
        """Other parents for a child's children, or for the child itself."""
        return self.siblings() if session.present.address else self._others

    def arrived(self, session: Session) -> None:
        if session.present.address:
            for other in self.node.sessions():
                if other.present.address:
                    other.send(Parents(self.siblings()))

    def connected(self, parent: str, welcome: Welcome) -> None:
        self._take(parent, welcome.parent_addresses)

    def from_parent(self, parent: str, frame: Parents) -> None:
        self._take(parent, frame.parent_addresses)

    def _take(self, parent: str, addresses: tuple[ParentAddress, ...]) -> None:
        """Where a device may go when this parent is gone; an aggregator hands the list on."""
        uplink = self.node.uplink
        if uplink is None or not addresses:
            return
        if self.node.downlink is not None:
            self._others = addresses
            self.node.say_to_all(Parents(addresses))
            return
        uplink.parent_addresses = _in_order(uplink, parent, addresses)
        try:
            self.node.database.put(KIND, self.node.name, encode(tuple(uplink.parent_addresses)))
        except StorageError as error:
            log.warning("%s will not know its other parents after a restart: %s", self.node.name, error)


def _in_order(uplink: Uplink, parent: str, addresses: tuple[ParentAddress, ...]) -> list[ParentAddress]:
    """The node's own parent first, then the one that it has, then the others."""
    known = {address.name: address for address in uplink.parent_addresses}
    first = [uplink.own] + ([known[parent]] if parent in known and parent != uplink.own.name else [])
    return first + [address for address in addresses if address not in first and address.name != parent]


def known_parents(database: Database, name: str, given: list[ParentAddress]) -> list[ParentAddress]:
    """Parents to dial: the given ones first, then those that were known the last time."""
    body = database.get(KIND, name)
    known: tuple[ParentAddress, ...] = () if body is None else ADDRESSES.decode(body)
    names = {address.name for address in given}
    return [*given, *(address for address in known if address.name not in names)]

"""Where a node's children may go when it is gone or has moved, and where it may go itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Never

from fogline.network.node.context import NodeContext
from fogline.network.node.services.base import Service
from fogline.network.transport.messages import MOVES, Moved, ParentAddress, Parents, Welcome
from fogline.network.transport.session import Session
from fogline.network.transport.uplink import Uplink
from fogline.processes.messages import decoder, encode
from fogline.storage import Database, StorageError

log = logging.getLogger("fogline.network")
KIND = "parent_addresses"
MOVING, MOVED = "moving", "moved"
"""Where this node will be reached; and where its parents are by now."""
ADDRESSES = decoder(tuple[ParentAddress, ...])
MOVES_KEPT = decoder(dict[str, ParentAddress])
MOVED_FRAME = decoder(Moved)


class ParentService(Service[Never, Parents | Moved]):
    """Hands the aggregators of a tier on, as parents of the next, and tells children where their parent moves."""

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

    def move(self, address: str) -> str:
        """Tell all children, also those that come later, where this node will be reached; a sentence on who knows.

        Raises:
            ValueError: that is no address.
            StorageError: it cannot be kept.
        """
        announce_move(self.node.database, self.node.name, address)
        told = [session.name for session in self.node.sessions() if self._tell(session, address)]
        deaf = [session.name for session in self.node.sessions() if session.name not in told]
        rest = f" To be told on their own machines (they speak an older version): {', '.join(deaf)}." if deaf else ""
        return (
            f"{self.node.name} will be at {address}. Told: {', '.join(told) or 'nobody'}; who is away hears of it when "
            f"connected.{rest}"
        )

    def arrived(self, session: Session) -> None:
        body = self.node.database.get(MOVING, self.node.name)
        if body is not None and not self._tell(session, address := MOVED_FRAME.decode(body).address):
            log.warning(
                "%s speaks an older version of the protocol and does not hear that %s will be at %s: it is told on its "
                "own machine, by set-parent",
                *(session.name, self.node.name, address),
            )
        if session.present.address:
            for other in self.node.sessions():
                if other.present.address:
                    other.send(Parents(self.siblings()))

    def _tell(self, session: Session, address: str) -> bool:
        """Tell a child where this node will be; whether it understands that."""
        knows = session.present.protocol >= MOVES
        if knows:
            session.send(Moved(address))
        return knows

    def connected(self, parent: str, welcome: Welcome) -> None:
        self._take(parent, welcome.parent_addresses)

    def from_parent(self, parent: str, frame: Parents | Moved) -> None:
        if isinstance(frame, Moved):
            self._follow(ParentAddress(parent, frame.address))
        else:
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

    def _follow(self, new: ParentAddress) -> None:
        """The parent says where it will be: there it is dialled first from here on, and where it was after that."""
        uplink = self.node.uplink
        assert uplink is not None
        if new.name != uplink.own.name or new == uplink.own:
            return
        log.info("%s will find %s at %s", self.node.name, new.name, new.address)
        before, uplink.own = uplink.own, new
        uplink.parent_addresses = [new, *(known for known in uplink.parent_addresses if known != new)]
        try:
            moves = {**moves_of(self.node.database, self.node.name), before.address: new}
            moves.pop(new.address, None)  # It may have come back to where it was.
            self.node.database.put(MOVED, self.node.name, encode(moves))
        except StorageError as error:
            log.warning("%s will not know after a restart where %s is: %s", self.node.name, new.name, error)


def _in_order(uplink: Uplink, parent: str, addresses: tuple[ParentAddress, ...]) -> list[ParentAddress]:
    """The node's own parent first, then the one that it has, then the others."""
    known = {address.name: address for address in uplink.parent_addresses}
    first = [uplink.own] + ([known[parent]] if parent in known and parent != uplink.own.name else [])
    return first + [address for address in addresses if address not in first and address.name != parent]


def known_parents(database: Database, name: str, given: list[ParentAddress]) -> list[ParentAddress]:
    """Parents to dial: the given ones first, where they are by now, then those that were known the last time."""
    body = database.get(KIND, name)
    known: tuple[ParentAddress, ...] = () if body is None else ADDRESSES.decode(body)
    names, moves = {address.name for address in given}, moves_of(database, name)
    here = [address for one in given for address in dict.fromkeys((whereabouts(moves, one), one))]
    return [*here, *(address for address in known if address.name not in names)]


def moves_of(database: Database, name: str) -> dict[str, ParentAddress]:
    """Where a node's parents have moved, by where they were; no way leads round in a circle."""
    body = database.get(MOVED, name)
    return {} if body is None else MOVES_KEPT.decode(body)


def whereabouts(moves: Mapping[str, ParentAddress], parent: ParentAddress) -> ParentAddress:
    """Where a parent is by now."""
    while parent.address in moves and moves[parent.address].name == parent.name:
        parent = moves[parent.address]
    return parent


def announce_move(database: Database, name: str, address: str) -> None:
    """Have a node tell its children, when they come, where it will be reached.

    Raises:
        ValueError: that is no address.
        StorageError: it cannot be kept.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"'{address}' is no address; write HOST:PORT")
    database.put(MOVING, name, encode(Moved(address)))

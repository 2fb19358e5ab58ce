"""The search for a parent: which one is dialled next, and after how long."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fogline.network.transport.messages import ParentAddress
from fogline.retries import RECONNECT, Failures

log = logging.getLogger("fogline.network")
TRIES = 3
"""Failed attempts at one parent before the next one on the list is tried."""
CLONED = 5
"""For how many failures it counts that another node has the same identity: no other parent would be better."""


class ConnectionLostError(ConnectionError):
    """The connection to the parent broke, or was never made; it may be tried again."""


class ClonedIdentityError(ConnectionLostError):
    """The parent has another connection that shows this node's identity."""


class Search:
    """Which parent is dialled next, and after how long.

    Args:
        parent_addresses: the parents as they are known now.
    """

    def __init__(self, parent_addresses: Callable[[], list[ParentAddress]]) -> None:
        self._parent_addresses = parent_addresses
        self._place = self._tries = 0
        self._failures = Failures(RECONNECT)
        self._said = ""

    def next(self) -> ParentAddress:
        """The parent to dial next."""
        parent_addresses = self._parent_addresses()
        return parent_addresses[self._place % len(parent_addresses)]

    def wait(self) -> float:
        """Seconds until then; longer each time."""
        return self._failures.another()

    def lost(self, parent_address: ParentAddress, steady: bool) -> None:
        """A connection is gone. One that did not last counts as an attempt: two may be throwing each other out."""
        self._tries, self._said = 0, ""
        if steady:
            self._failures.over()
        self.turn_to(parent_address)

    def failed(self, parent_address: ParentAddress, loss: ConnectionLostError) -> None:
        """A parent could not be reached, or does not take the node now."""
        if str(loss) != self._said and not self._tries:
            log.warning("%s at %s cannot be reached: %s", parent_address.name, parent_address.address, loss)
            self._said = str(loss)
        if isinstance(loss, ClonedIdentityError):
            self._failures.at_least(CLONED)
            return
        self._tries += 1
        if self._tries >= TRIES:
            self._place, self._tries = self._place + 1, 0

    def turn_to(self, parent_address: ParentAddress) -> None:
        """Dial that one next; the list may have changed since."""
        self._place = next(
            (i for i, other in enumerate(self._parent_addresses()) if other.name == parent_address.name), self._place
        )

"""What this node's data has given away: charged before it leaves, and whether others have seen more of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fogline.governance.errors import SitePolicyError
from fogline.privacy.accounting.heads import LedgerHead, read_head, sign_head, verified_head
from fogline.privacy.accounting.ledger import FILE, BudgetError, Charge, Limit, PrivacyLedger
from fogline.storage.atomic import write_file
from fogline.storage.errors import explained

if TYPE_CHECKING:
    from fogline.governance.identity.credentials import Credentials
    from fogline.governance.policy.terms import PrivacyBudget

log = logging.getLogger("fogline.network")
AHEAD = "privacy.ahead"
"""The end of this node's ledger as others have seen it, where the one here ends before, or is another."""


class Spending:
    """A node's ledger while the node runs.

    Args:
        name: the node's.
        folder: its own; the ledger lies there.
        budget: what the owner allows now; None: as much as jobs ask for.
        credentials: what shows who the node is; None where it shows nobody.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        budget: Callable[[], PrivacyBudget | None],
        credentials: Callable[[], Credentials | None],
    ) -> None:
        self._name = name
        self._folder = folder
        self._budget = budget
        self._credentials = credentials
        self._turn = asyncio.Lock()

    @cached_property
    def ledger(self) -> PrivacyLedger:
        """What was given away.

        Raises:
            LedgerError: it cannot be believed.
            StorageError: it cannot be read.
        """
        return PrivacyLedger(self._folder / FILE)

    async def charge(self, charge: Charge) -> bytes | None:
        """Write down what is about to be given away. The new end of the ledger is returned, for others to keep; None
        where nothing is new.

        Raises:
            BudgetError: it must not be given away.
            LedgerError: the ledger cannot be believed.
            StorageError: it cannot be written, so nothing must leave.
        """
        async with self._turn:
            return await asyncio.to_thread(self._charge, charge)

    def _charge(self, charge: Charge) -> bytes | None:
        ahead = ahead_of(self._folder, self.ledger)
        if ahead is not None:
            raise BudgetError(behind(self._folder, self.ledger, ahead))
        entry = self.ledger.charge(charge, self._limit())
        return None if entry is None else self.end()

    def end(self) -> bytes | None:
        """The end of the ledger, signed; None where there is none, or this node shows nobody who it is."""
        own = self._credentials()
        if own is None or not self.ledger.number:
            return None
        try:
            limit = self._limit()
        except SitePolicyError:  # It is for people to look at; when a job comes, the policy is asked again.
            limit = None
        return sign_head(LedgerHead.of(self.ledger, self._name, limit), own)

    def _limit(self) -> Limit | None:
        budget = self._budget()
        return None if budget is None else Limit(budget.epsilon, budget.delta)

    def shown(self, data: bytes) -> None:
        """Take note of an end of this node's ledger that others hold. If it is this node's word and not in the ledger
        here, nothing more is given away until the owner has seen to it.

        Raises:
            LedgerError, StorageError: the ledger here cannot be read.
        """
        head, own = read_head(data), self._credentials()
        if head is None or own is None or head.node != self._name or self.ledger.holds(head.number, head.digest):
            return
        if verified_head(data, own.root) is None:
            log.warning("%s was shown an end of its ledger that it has never signed", self._name)
            return
        known = ahead_of(self._folder, self.ledger)
        if known is None or known.number < head.number:
            with explained("write down what was shown", self._folder):
                write_file(self._folder / AHEAD, data)
        log.error("%s: %s", self._name, behind(self._folder, self.ledger, head))


def ahead_of(folder: Path, ledger: PrivacyLedger) -> LedgerHead | None:
    """What others have seen of a ledger that is not in it; None where there is nothing.

    Raises:
        StorageError: it cannot be read.
    """
    with explained("read what was shown", folder):
        data = (folder / AHEAD).read_bytes() if (folder / AHEAD).exists() else b""
    head = read_head(data)
    return None if head is None or ledger.holds(head.number, head.digest) else head


def behind(folder: Path, ledger: PrivacyLedger, head: LedgerHead) -> str:
    """A sentence: this ledger is not the newest, and what to do."""
    what = f"ends at entry {ledger.number}" if ledger.number < head.number else "is not the same"
    return (
        f"This node has signed entry {head.number} of its ledger of privacy, and {ledger.path} {what}: it went back to "
        "a backup, or is a copy. Put the newest ledger back, or book what is lost on top with: "
        f"fogline privacy take-over --folder {folder}; until then its data gives away nothing more"
    )

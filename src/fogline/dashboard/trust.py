"""What a person is shown of a cloud to trust it, and says: approvals, policies, what was given away, the audit log.

All of it is verified on the person's machine, with the authority's certificate, and an owner's word is signed here.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from datetime import datetime
from pathlib import Path

import msgspec

from fogline.dashboard.calls import Decided, JobName
from fogline.dashboard.errors import BoardRequestError
from fogline.governance.audit_log.export import check_export, read_export
from fogline.governance.audit_log.records import AuditRecord, decode_record
from fogline.network.cloud.client import Client
from fogline.network.cloud.owners.budgets import SpentBudget, spent_budgets
from fogline.network.cloud.owners.data_owner import DataOwner, examine
from fogline.network.cloud.owners.shown_policies import ShownPolicy, shown_policies

RECORDS = 500
"""Records of the audit log that are shown, the newest; all are verified."""
PREFIX = "fogline-board-"
"""Of folders for what is fetched."""


class ShownJob(msgspec.Struct, frozen=True):
    """A job that wants data, as its signed bundle says."""

    job: str
    bundle: str
    """SHA-256, in hexadecimal."""
    facts: tuple[tuple[str, str], ...]
    """What it does, in words, by the subject of each."""


class VerifiedLog(msgspec.Struct, frozen=True):
    """The cloud's audit log, and what does not hold of it."""

    node: str
    size: int
    problems: tuple[str, ...]
    records: tuple[AuditRecord, ...]
    """The last ones."""


class TrustDesk:
    """Does what the page of trust asks.

    Args:
        place: the person's folder.
        root: certificate of the cloud's authority (PEM).
    """

    def __init__(self, place: Path, root: bytes) -> None:
        self._place = place
        self._root = root

    async def show(self, client: Client, asked: JobName) -> ShownJob:
        """Fetch a job's bundle, verify it, and say what it does."""
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            found = await examine(client, asked.job, self._place, Path(folder))
        return ShownJob(found.report.job, found.bundle.digest, found.facts)

    async def decide(self, client: Client, asked: Decided) -> str:
        """Approve or refuse a job, as ``fogline approvals`` does.

        Raises:
            BoardRequestError: the cloud has another job or bundle now than the person was shown.
            RoleError: the person is no owner.
            ApprovalError: there is no reason.
        """
        owner = DataOwner.load(self._place)
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            found = await examine(client, asked.job, self._place, Path(folder))
            if (found.report.job, found.bundle.digest) != (asked.job, asked.bundle):
                raise BoardRequestError(
                    f"The cloud has job {found.report.job} with the bundle {found.bundle.digest[:16]} now, and another "
                    "one was shown; look at it again"
                )
            after = await owner.decide(client, found, asked.verdict, asked.reason)
        said = "approved" if asked.verdict == "approve" else "refused"
        return f"You {said} job {after.job}, which is {after.state}{f': {after.why}' if after.why else ''}."

    async def policies(self, client: Client) -> tuple[ShownPolicy, ...]:
        """The fleet's policy, and the cloud's own."""
        return shown_policies(await client.policies(), self._root, datetime.now())

    async def budgets(self, client: Client) -> list[SpentBudget]:
        """What data have given away, and what their owners still allow."""
        return await asyncio.to_thread(spent_budgets, await client.ledgers(), self._root)

    async def audit(self, client: Client) -> VerifiedLog:
        """Fetch the whole log and verify it."""
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            path = Path(folder) / "cloud.audit"
            await client.audit_log(path)
            return await asyncio.to_thread(self._verified, path)

    def _verified(self, path: Path) -> VerifiedLog:
        checked = check_export(path, self._root)
        last = deque(read_export(path)[1], maxlen=RECORDS)
        records = tuple(map(decode_record, last)) if not checked.problems else ()
        return VerifiedLog(checked.head.node, checked.head.size, checked.problems, records)

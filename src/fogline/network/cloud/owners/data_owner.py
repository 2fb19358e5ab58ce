"""What an owner of data sees of a job, and says to it: on the owner's machine, signed with the owner's key.

The command line and the dashboard both do it so. Of what a job does, the cloud's word is not needed: its bundle is
fetched, and verified here.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fogline.governance.approvals.approval import Verdict, sign_approval
from fogline.governance.bundles.bundle import Bundle, open_bundle
from fogline.governance.role_check import check_role
from fogline.governance.safe_files import make_private_folder
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import Subject, node_name
from fogline.jobs.in_words import Facts
from fogline.network.cloud.api.approvals import facts_of_bundle
from fogline.network.cloud.client import Client, OperatorApiError
from fogline.network.cloud.folder import OWNER_KEY
from fogline.network.cloud.records import ApprovalReport

APPROVED = "approved"
"""In a person's folder: of each job, by its name, the bundle that this person approved last."""


class ExaminedJob(NamedTuple):
    """A job that was looked at."""

    report: ApprovalReport
    """How it stands, by the cloud's word."""
    bundle: Bundle
    """What would run, verified here."""
    facts: Facts
    """What that does, in words."""


async def examine(client: Client, job: str, place: Path, into: Path) -> ExaminedJob:
    """Look at a job.

    Args:
        client: of the cloud.
        job: its id, or the beginning of it.
        place: the person's folder, with what was approved before.
        into: a folder for the bundle.

    Raises:
        OperatorApiError: there is no such job, or its code may not be read, or the cloud does not answer, or for
            another job.
        BundleError: its bundle is not what its signer signed.
        JobError: what was signed is no job.
    """
    report = await client.approval(job)
    if not report.job.startswith(job):
        raise OperatorApiError(f"The cloud was asked for job {job}, and answers for {report.job}")
    path = into / "bundle.zip"
    await client.fetch(report.bundle, path)

    def read() -> tuple[Bundle, Facts]:
        bundle, before = open_bundle(path), _path_of(report.name, place)
        return bundle, facts_of_bundle(bundle, open_bundle(before) if before.exists() else None)

    return ExaminedJob(report, *await asyncio.to_thread(read))


@dataclass(frozen=True)
class DataOwner:
    """Who speaks for data. Get one with :meth:`load`."""

    place: Path
    """The owner's folder."""
    subject: Subject
    key: SigningKey

    @classmethod
    def load(cls, place: Path, key: Path | None = None) -> DataOwner:
        """The person of a folder.

        Args:
            place: as ``fogline join --role owner`` made it.
            key: the file of the owner's key, if it lies elsewhere.

        Raises:
            RoleError: the person is no owner of data.
            SignatureError: there is no key.
            IdentityError: there is no identity.
        """
        subject = check_role(place / "identity", "Operator/Decide")
        return cls(place, subject, SigningKey.load(key or place / OWNER_KEY))

    async def decide(
        self, client: Client, examined: ExaminedJob, verdict: Verdict, reason: str, nodes: Sequence[str] = ()
    ) -> ApprovalReport:
        """Approve or refuse a job that was looked at: how it stands then.

        Args:
            client: of the cloud.
            examined: the job; what was seen of it is what is signed.
            verdict: what is said to it.
            reason: why.
            nodes: patterns of the nodes that it is said for; none at all: all that the owner may speak for.

        Raises:
            ApprovalError: the reason is too long, or a refusal has none, or a pattern is none.
            OperatorApiError: the cloud does not take it.
        """
        report, bundle = examined.report, examined.bundle
        spoken_for = tuple(nodes) or self.subject.nodes
        envelope = sign_approval(report.job, bundle.digest, verdict, reason, self.key, time.time(), spoken_for)
        after = await client.decide(report.job, envelope)
        if verdict == "approve":
            path = _path_of(report.name, self.place)
            make_private_folder(path.parent)
            shutil.move(bundle.path, path)
        return after


def _path_of(name: str, place: Path) -> Path:
    return place / APPROVED / f"{node_name(name)}.zip"

"""Jobs that wait for owners: what they want, in words, and what owners say to them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from fogline.governance.approvals.approval import Approval, read_approval
from fogline.governance.bundles.bundle import Bundle, open_bundle
from fogline.governance.errors import ApprovalError, BundleError
from fogline.governance.roles import refusal
from fogline.governance.subject import Subject, fits
from fogline.jobs.in_words import Facts, facts_of
from fogline.network.cloud.records import ApprovalReport, Record, Word
from fogline.network.cloud.scheduler import JobScheduler
from fogline.storage import MissingBlobError

MOST = 64
"""Words of owners that are kept of one job."""
LEAKS = "leaks.json"
"""What ``fogline audit leaks`` writes, where a developer sends it along."""


class ApprovalDesk:
    """Tells owners of jobs, and jobs of owners' words. It believes nobody: sites verify the words by themselves.

    Args:
        scheduler: the jobs.
    """

    def __init__(self, scheduler: JobScheduler) -> None:
        self._scheduler = scheduler
        self._turn = asyncio.Lock()

    async def waiting(self) -> list[ApprovalReport]:
        """Jobs that wait, at the cloud or at nodes, the oldest first."""
        records = self._scheduler.job_store.records("waiting", "running")
        wanted = [r for r in records if r.state == "waiting" or self._scheduler.unapproved(r.job)]
        return [await self._report(record) for record in wanted]

    async def show(self, name: str) -> ApprovalReport:
        """A job, and what it does.

        Raises:
            LookupError: there is no such job, or its code is not here any more.
        """
        record = self._scheduler.job_store.record(name)
        return await self._report(record, await asyncio.to_thread(self._facts, record))

    async def decide(self, name: str, envelope: bytes, by: Subject) -> ApprovalReport:
        """Take what an owner signed, and act on it.

        Raises:
            LookupError: there is no such job.
            PermissionError: who brings it may not speak for the nodes that it names.
            ApprovalError: nobody has signed it, or it is for another job, or the job is over.
            StorageError: it cannot be kept.
        """
        word = read_approval(envelope)
        for pattern in word.nodes or ("*",):
            if (why := refusal(by, "Operator/Decide", node=pattern)) is not None:
                raise PermissionError(why)
        async with self._turn:  # Two owners at a time must not lose each other's word.
            record = self._scheduler.job_store.record(name)
            self._check(word, record)
            others = _beside(word, record)
            if len(others) >= MOST:
                raise ApprovalError(f"Owners have said {MOST} things to job {record.job} already; no more are kept.")
            await self._scheduler.node.audit.record(
                "job.decided",
                word.owner.name,
                record.job,
                verdict=word.verdict,
                reason=word.reason,
                key=word.owner.fingerprint,
                bundle=word.bundle,
                nodes=word.nodes,
                brought_by=by.name,
            )
            return await self._report(await self._scheduler.owners_spoke(record.job, (*others, envelope)))

    def _check(self, word: Approval, record: Record) -> None:
        if (word.job, word.bundle) != (record.job, record.bundle.digest):
            raise ApprovalError(
                f"What was signed is for job {word.job} with the bundle {word.bundle[:16]}, and not for {record.job}, "
                f"which has {record.bundle.digest[:16]}."
            )
        if record.ended:
            raise ApprovalError(f"Job {record.job} is over: it {record.state}.")

    async def _report(self, record: Record, facts: Facts = ()) -> ApprovalReport:
        standing = await self._scheduler.standing(record)
        words = [read_approval(envelope) for envelope in record.approvals]
        return ApprovalReport(
            record.job,
            record.name,
            record.state,
            record.by,
            record.submitted,
            record.bundle,
            "" if standing is None else standing.why,
            () if standing is None else standing.missing,
            self._scheduler.unapproved(record.job),
            tuple(Word(word.owner.name, word.verdict, word.reason, word.at, word.nodes) for word in words),
            facts,
        )

    def _facts(self, record: Record) -> Facts:
        try:
            opened, before = self._opened(record), self._approved_before(record)
        except (MissingBlobError, BundleError) as error:
            raise LookupError(f"the code of job {record.job} cannot be read here: {error}") from error
        return facts_of_bundle(opened, before)

    def _opened(self, record: Record) -> Bundle:
        return open_bundle(Path(self._scheduler.node.value_store.blobs.path(record.bundle.digest)))

    def _approved_before(self, record: Record) -> Bundle | None:
        """The bundle of the last job of that name that owners approved."""
        records = [r for r in self._scheduler.job_store.records() if r.name == record.name and r.serial < record.serial]
        for before in reversed(records):
            if before.state != "waiting" and any(read_approval(e).verdict == "approve" for e in before.approvals):
                return self._opened(before)
        return None


def facts_of_bundle(bundle: Bundle, before: Bundle | None) -> Facts:
    """What the job of a bundle does, in words.

    Args:
        bundle: one that was opened, and so verified.
        before: that of the job of its name that was approved last.

    Raises:
        JobError: what the developer signed is no job.
        BundleError: it was changed since it was opened.
    """
    manifest = None if before is None else before.manifest
    return facts_of(bundle.manifest, bundle.digest, manifest, leaks_of(bundle))


def leaks_of(bundle: Bundle) -> str:
    """What an audit of leaks came to that the developer sent along; empty where there is none that can be read."""
    try:
        found = json.loads(bundle.read(LEAKS) or b"{}")
    except (ValueError, RecursionError):
        return ""
    return str(found.get("verdict", "")) if isinstance(found, dict) else ""


def _beside(word: Approval, record: Record) -> list[bytes]:
    """What was said to a job, and holds beside a word: of the same owner, what was said for nodes that it is not for.

    Raises:
        ApprovalError: the owner has said something newer to them. Everybody reads what owners signed, and who hands an
            old word in again is not who said it.
    """
    kept: list[bytes] = []
    for envelope in record.approvals:
        before = read_approval(envelope)
        newer, same = before.at > word.at, before.owner.public_key == word.owner.public_key
        if same and newer and _covers(before, word):
            raise ApprovalError(
                f"{word.owner.name} said something newer to job {record.job}: {before.verdict}. Is this machine's "
                "clock right?"
            )
        if not same or newer or not _covers(word, before):
            kept.append(envelope)
    return kept


def _covers(word: Approval, other: Approval) -> bool:
    """Whether a word is for all nodes that another one is for."""
    return all(fits(pattern, word.nodes) for pattern in other.nodes or ("*",))

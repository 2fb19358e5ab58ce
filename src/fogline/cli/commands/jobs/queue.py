"""``fogline jobs list``, ``show`` and ``stop``: what waits, runs and has run."""

from __future__ import annotations

import time
from textwrap import shorten
from typing import Any

from rich.markup import escape

from fogline.cli.connection import asked
from fogline.cli.failures import UsageError
from fogline.cli.listing import Listing, present, print_json
from fogline.cli.options import OPERATOR, Flag, Json, OperatorOptions, duration
from fogline.cli.telling import tell
from fogline.governance.approvals.approval import read_approval
from fogline.network.cloud.client import Client
from fogline.network.cloud.records import Record, Stop

TOLD = ("job", "name", "state", "done", "rounds", "priority", "by", "submitted", "headline", "why")
"""What programs are told of a job."""
SHORT = 60
"""Characters of a reason in the table; ``show`` has it whole."""


def list_jobs(*, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """List the jobs.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    listing = Listing(
        ("job", "state", "round", "priority", "by", "submitted", "why"),
        empty="There are no jobs; submit one: fogline jobs submit job.toml",
    )
    for record in asked(operator.folder, Client.jobs):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.submitted))
        rounds, by, why = (
            f"{record.done} of {record.rounds}",
            escape(record.by),
            shorten(record.why, SHORT, placeholder=" …"),
        )
        listing.add(_told(record), record.job, record.state, rounds, str(record.priority), by, when, escape(why))
    present([listing], json)


def show(job: str, /, *, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """Show what is known of a job: how it stands, what it waits for, and what owners said to it.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    json
        Print an object (JSON) instead of lines.
    """

    async def ask(client: Client) -> Record:
        (record,) = await client.jobs(job)
        return record

    record = asked(operator.folder, ask)
    said = [read_approval(envelope) for envelope in record.approvals]
    if json:
        words = [{"owner": word.owner.name, "verdict": word.verdict, "reason": word.reason} for word in said]
        print_json({**_told(record), "bundle": record.bundle.digest, "nodes": record.nodes, "said": words})
        return
    facts = {
        "job": record.job,
        "state": record.state,
        "why": record.why,
        "rounds": f"{record.done} of {record.rounds}",
        "by": record.by,
        "submitted": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.submitted)),
        "priority": str(record.priority),
        "bundle": record.bundle.digest,
        "for nodes": ", ".join(record.nodes),
    }
    for key, value in facts.items():
        if value:
            tell(f"{key:<10}{value}")
    for word in said:
        tell(f"{'said':<10}{word.owner.name}: {word.verdict}{': ' + word.reason if word.reason else ''}")


def _told(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in TOLD}


def forget(job: str = "", /, *, older: str = "", operator: OperatorOptions = OPERATOR) -> None:
    """Delete all that the cloud keeps of jobs that are over: result, log and code. Versions that came of them stay, and
    so does what the audit log says.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    older
        In place of a job: all that have been over for so long: --older 90d.
    """
    if bool(job) == bool(older):
        raise UsageError("Name a job, or say with --older how old those are that are to be forgotten")
    seconds = duration("--older", older) if older else None

    async def ask(client: Client) -> str:
        return await client.forget_jobs(job, seconds)

    print(asked(operator.folder, ask))


def stop(
    job: str = "", /, *, publish: Flag = False, discard: Flag = False, operator: OperatorOptions = OPERATOR
) -> None:
    """End a job: what it has learned so far is its result, and no version of the model.

    Parameters
    ----------
    job
        Its id, or the beginning of it; by default the only one that is not over.
    publish
        Publish what it has learned so far as a version, if its job's conditions are met.
    discard
        Keep nothing of what it has learned so far.
    """
    if publish and discard:
        raise UsageError("A model cannot be published and discarded; leave out --publish or --discard")
    how: Stop = "publish" if publish else "discard" if discard else "keep"

    async def ask(client: Client) -> Record:
        if job:
            return await client.stop(job, how)
        open_jobs = [record.job for record in await client.jobs() if not record.ended]
        if len(open_jobs) != 1:
            raise UsageError(f"Say which job to stop: {', '.join(open_jobs)}" if open_jobs else "No job runs or waits")
        return await client.stop(open_jobs[0], how)

    record = asked(operator.folder, ask)
    state = f"is {record.state} already" if record.ended else "is being stopped"
    print(f"Job {record.job} {state} after {record.done} of {record.rounds} rounds.")

"""``fogline jobs``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from fogline.cli.bundling import bundle_of_job
from fogline.cli.connection import asked, cloud_of, operator_folder
from fogline.cli.failures import JobFailedError, UsageError
from fogline.cli.listing import Listing, present, print_json_line
from fogline.governance.policy.offers import Needs
from fogline.governance.signatures.signing import SigningKey
from fogline.jobs import Job
from fogline.jobs.files import parse_job, read_job
from fogline.logs import stamp
from fogline.monitoring.human import human_bytes, human_metric, human_seconds
from fogline.monitoring.progress import Live
from fogline.network.cloud.client import Client
from fogline.network.cloud.cloud import SIGNING
from fogline.network.cloud.job_store import ENDED, LogLine, Record, Stop

TOLD = ("job", "name", "state", "done", "rounds", "priority", "by", "submitted", "headline", "why")
"""What programs are told of a job."""


def submit_job(
    folder: Path,
    file: Path,
    overrides: Sequence[str],
    send: Sequence[Path],
    priority: int,
    planned: bool,
    wait: bool,
) -> None:
    """Sign a job, send it, and follow it if asked.

    Raises:
        JobError: the job is wrong.
        TrustError: it cannot be signed or packed.
        OperatorApiError: the cloud refuses, or does not answer.
        JobFailed: it was followed, and failed.
    """
    job = read_job(file, overrides)
    key = SigningKey.load(operator_folder(folder) / SIGNING)
    text, bundle, files = bundle_of_job(job, file.parent, send, key)
    names = ", ".join(str(path.relative_to(file.parent)) for path in files) or "no files"
    print(f"Sends {file.name} with {names} ({human_bytes(len(bundle))}), signed by {key.signer.name}.")

    async def ask(client: Client) -> Record:
        record = await client.submit(text, bundle, priority, needs_of(job), planned)
        print(f"Job {record.job} is in the queue.", flush=True)
        return await _follow(client, record) if wait else record

    record = asked(folder, ask)
    if not wait:
        print(f"Follow it: fogline jobs watch {record.job}")
        return
    conclude(record)


def needs_of(job: Job) -> Needs:
    """What a job asks of a device, as nodes understand it."""
    needs = job.needs
    return Needs(needs.memory, needs.cpus, needs.frameworks, needs.tags)


def show_jobs(folder: Path, json: bool) -> None:
    """List all jobs."""
    listing = Listing(
        ("job", "state", "round", "priority", "by", "submitted", "why"),
        empty="There are no jobs; submit one: fogline jobs submit job.toml",
    )
    for record in asked(folder, Client.jobs):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.submitted))
        rounds, by, why = f"{record.done} of {record.rounds}", escape(record.by), escape(record.why)
        item = {name: getattr(record, name) for name in TOLD}
        listing.add(item, record.job, record.state, rounds, str(record.priority), by, when, why)
    present([listing], json)


def watch_job(folder: Path, name: str) -> None:
    """Follow a job until it is over.

    Raises:
        OperatorApiError: the cloud refuses, or does not answer.
        JobFailed: the job failed.
    """

    async def ask(client: Client) -> Record:
        return await _follow(client, await find(client, name))

    conclude(asked(folder, ask))


def stop_job(folder: Path, name: str, publish: bool, discard: bool) -> None:
    """End a job.

    Raises:
        UsageError: it is not clear which, or what is to become of its model.
    """
    if publish and discard:
        raise UsageError("A model cannot be published and discarded; leave out --publish or --discard")
    how: Stop = "publish" if publish else "discard" if discard else "keep"

    async def ask(client: Client) -> Record:
        if name:
            return await client.stop(name, how)
        open_jobs = [record.job for record in await client.jobs() if not record.ended]
        if len(open_jobs) != 1:
            raise UsageError(f"Say which job to stop: {', '.join(open_jobs)}" if open_jobs else "No job runs or waits")
        return await client.stop(open_jobs[0], how)

    record = asked(folder, ask)
    state = f"is {record.state} already" if record.ended else "is being stopped"
    print(f"Job {record.job} {state} after {record.done} of {record.rounds} rounds.")


def show_logs(folder: Path, name: str, follow: bool, json: bool) -> None:
    """What a job's nodes told."""

    async def show() -> None:
        async with cloud_of(folder) as client:
            record = await find(client, name)
            async for line in client.watch(record.job, follow=follow):
                if json:
                    print_json_line(line)
                else:
                    print(as_text(line, record), flush=True)

    asyncio.run(show())


async def find(client: Client, name: str) -> Record:
    """A job by the beginning of its id, or the last one.

    Raises:
        UsageError: there is no job at all.
    """
    records = await client.jobs(name)
    if not records:
        raise UsageError("There are no jobs; submit one: fogline jobs submit job.toml")
    return records[-1]


async def _follow(client: Client, record: Record) -> Record:
    """Show a job as it goes; how it stands at the end."""
    job, live = parse_job(record.text), Live(Console())
    began = False
    try:
        async for line in client.watch(record.job):
            if line.row is not None:
                live.round(line.row)
            elif line.what == "began" and not began:
                began = True
                (record,) = await client.jobs(record.job)
                nodes = [node for node in await client.nodes() if node.up]
                devices, fogs = (sum(node.role == role for node in nodes) for role in ("device", "fog"))
                live.started(job, devices, fogs + 1, record.headline, record.units.get(record.headline, ""))
            elif line.what not in ENDED:
                live.note(line.text)
    finally:
        live.close()
    (record,) = await client.jobs(record.job)
    return record


def conclude(record: Record) -> None:
    """Say how a job ended.

    Raises:
        JobFailed: it failed.
    """
    if record.state == "failed":
        raise JobFailedError(f"Job {record.job} failed after {record.done} of {record.rounds} rounds: {record.why}")
    why = f": {record.why}" if record.why else ""
    print(f"Job {record.job} {record.state} after {record.done} of {record.rounds} rounds{why}.")


def as_text(line: LogLine, record: Record) -> str:
    """A line of a log."""
    begin = stamp(line.at, logging.getLevelName(line.level), record.job, line.round)
    if line.row is None:
        return f"{begin} {line.text}"
    row, name = line.row, record.headline
    metric = f", {name} {human_metric(name, row[name], record.units.get(name, ''))}" if name in row else ""
    clock = human_seconds(row.get("seconds", 0.0))
    devices = f", {int(row['devices'])} devices" if "devices" in row else ""
    return f"{begin} {line.node}: round {int(row['round'])} of {record.rounds}{devices}{metric}, clock {clock}"

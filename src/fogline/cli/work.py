"""``fogline jobs``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fogline.cli.bundling import bundle_of_job
from fogline.cli.desk import asked, cloud_of, operator_folder
from fogline.cli.failures import JobFailed, UsageError
from fogline.governance.offers import Needs
from fogline.governance.signing import SigningKey
from fogline.jobs import Job
from fogline.jobs.files import parse_job, read_job
from fogline.monitoring.progress import Live
from fogline.monitoring.table import human_bytes, human_metric, human_seconds
from fogline.network.books import ENDED, Line, Record, Stop
from fogline.network.client import Client
from fogline.network.cloud import SIGNING


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
        DeskError: the cloud refuses, or does not answer.
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


def show_jobs(folder: Path) -> None:
    """A table of all jobs."""
    records = asked(folder, Client.jobs)
    if not records:
        print("There are no jobs; submit one: fogline jobs submit job.toml")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("job", "state", "round", "priority", "by", "submitted", "why"):
        table.add_column(column, no_wrap=column == "job", style="cyan" if column == "job" else "")
    for record in records:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.submitted))
        rounds = f"{record.done} of {record.rounds}"
        table.add_row(
            record.job, record.state, rounds, str(record.priority), escape(record.by), when, escape(record.why)
        )
    Console().print(table, highlight=False)


def watch_job(folder: Path, name: str) -> None:
    """Follow a job until it is over.

    Raises:
        DeskError: the cloud refuses, or does not answer.
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


def show_logs(folder: Path, name: str, follow: bool) -> None:
    """What a job's nodes told."""

    async def show() -> None:
        async with cloud_of(folder) as client:
            record = await find(client, name)
            async for line in client.watch(record.job, follow=follow):
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
                live.note(told(line))
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
        raise JobFailed(f"Job {record.job} failed after {record.done} of {record.rounds} rounds: {record.why}")
    why = f": {record.why}" if record.why else ""
    print(f"Job {record.job} {record.state} after {record.done} of {record.rounds} rounds{why}.")


def told(line: Line) -> str:
    """What a node told, without the time."""
    child = f" {line.child}" if line.child else ""
    return f"{line.node}: {line.what}{child}" + (f": {line.why}" if line.why else "")


def as_text(line: Line, record: Record) -> str:
    """A line of a log."""
    at = time.strftime("%H:%M:%S", time.localtime(line.at))
    if line.row is None:
        return f"{at} {told(line)}"
    row, name = line.row, record.headline
    metric = f", {name} {human_metric(name, row[name], record.units.get(name, ''))}" if name in row else ""
    clock = human_seconds(row.get("seconds", 0.0))
    devices = f", {int(row['devices'])} devices" if "devices" in row else ""
    return f"{at} {line.node}: round {int(row['round'])} of {record.rounds}{devices}{metric}, clock {clock}"

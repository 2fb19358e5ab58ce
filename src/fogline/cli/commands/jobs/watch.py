"""``fogline jobs watch`` and ``logs``: what a job's nodes tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from rich.console import Console

from fogline.cli.connection import asked, cloud_of
from fogline.cli.failures import JobFailedError, RoundsLostError, UsageError
from fogline.cli.listing import print_json_line
from fogline.cli.options import OPERATOR, Flag, Json, OperatorOptions, Several
from fogline.cli.telling import printable, tell
from fogline.jobs import Job
from fogline.jobs.files.reading import parse_job
from fogline.logs import one_line, stamp
from fogline.monitoring.progress import Live
from fogline.monitoring.trackers.base import Together, Tracker, tracker
from fogline.network.cloud.client import Client
from fogline.network.cloud.records import ENDED, LogLine, Record


def watch(job: str = "", /, *, to: Several = (), operator: OperatorOptions = OPERATOR) -> None:
    """Follow a job until it is over; exit with 1 if it fails, and with 3 if rounds were lost.

    Parameters
    ----------
    job
        Its id, or the beginning of it; by default the last job.
    to
        Where else it goes, live: tensorboard=FOLDER, mlflow=URI, or both.
    """
    trackers = [tracker(text) for text in to]

    async def ask(client: Client) -> Record:
        record = await find(client, job)
        return await follow(client, record, parse_job(record.text), trackers)

    conclude(asked(operator.folder, ask))


def logs(job: str = "", /, *, follow: Flag = False, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """Show what a job's nodes told: rounds, refusals, failures.

    Parameters
    ----------
    job
        Its id, or the beginning of it; by default the last job.
    follow
        Go on until the job is over.
    json
        Print an object (JSON) for every line.
    """

    async def show() -> None:
        async with cloud_of(operator.folder) as client:
            record = await find(client, job)
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


async def follow(client: Client, record: Record, job: Job, trackers: Sequence[Tracker] = ()) -> Record:
    """Show a job as it goes, and tell trackers of it; how it stands at the end."""
    live = Together([Live(Console()), *trackers])
    began = False
    try:
        async for line in client.watch(record.job):
            if line.row is not None:
                live.round(line.row)
            elif line.what == "began" and not began:
                began = True
                (record,) = await client.jobs(record.job)
                above = [node.parent for node in await client.nodes() if node.up and node.role == "device"]
                unit = record.units.get(record.headline, "")
                live.started(job, len(above), len(set(above)), record.headline, unit)
            elif line.what not in ENDED:
                live.note(printable(line.text))
    finally:
        live.close()
    (record,) = await client.jobs(record.job)
    return record


def conclude(record: Record) -> None:
    """Say how a job ended.

    Raises:
        JobFailedError: it failed.
        RoundsLostError: it finished, and fewer rounds counted than were asked for.
    """
    if record.state == "failed":
        raise JobFailedError(f"Job {record.job} failed after {record.done} of {record.rounds} rounds: {record.why}")
    if record.state == "finished" and record.lost:
        raise RoundsLostError(f"Job {record.job} {record.state}, but {record.why}.")
    why = f": {record.why}" if record.why else ""
    tell(f"Job {record.job} {record.state} after {record.done} of {record.rounds} rounds{why}.")


def as_text(line: LogLine, record: Record) -> str:
    """A line of a log."""
    begin = stamp(line.at, logging.getLevelName(line.level), record.job, line.round)
    return f"{begin} {one_line(line.text_of(record))}"

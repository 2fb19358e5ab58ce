"""``fogline jobs result``."""

from __future__ import annotations

import json
from pathlib import Path

from fogline.cli.connection import asked
from fogline.cli.failures import UsageError
from fogline.monitoring.human import human_bytes
from fogline.network.cloud.client import Client
from fogline.network.cloud.results import Contents

JOB = "cloud.json"
"""In the folder: which job of which cloud it is."""


def fetch_result(folder: Path, name: str, to: Path | None) -> None:
    """Fetch a job's result from the cloud, as far as it is there.

    Raises:
        UsageError: there is no job, or the folder holds something else.
        OperatorApiError: the cloud refuses, or does not answer.
        StorageError: it cannot be written.
    """

    async def ask(client: Client) -> tuple[Contents, Path]:
        records = await client.jobs(name)
        if not records:
            raise UsageError("There are no jobs; submit one: fogline jobs submit job.toml")
        job = records[-1].job
        where = to or Path("runs") / job
        _check_free(where, job)
        found = await client.result(job, where)
        (where / JOB).write_text(json.dumps({"job": job}))
        return found, where

    found, where = asked(folder, ask)
    size = sum(file.size for file in found.files)
    print(f"{where}: {len(found.files)} files ({human_bytes(size)}) of job {found.job}, which is {found.state}.")
    print(f"Look at it: fogline show {where}")


def _check_free(where: Path, job: str) -> None:
    if where.exists() and not where.is_dir():
        raise UsageError(f"{where} is a file; name a folder with --to")
    if not where.is_dir() or not any(where.iterdir()):
        return
    try:
        held = json.loads((where / JOB).read_text())["job"]
    except (OSError, ValueError, KeyError, TypeError):
        held = None
    if held != job:
        what = f"the result of job {held}" if held else "other files"
        raise UsageError(f"{where} holds {what}; name another folder with --to")

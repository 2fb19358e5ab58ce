"""``fogline jobs result``."""

from __future__ import annotations

import json
from pathlib import Path

from fogline.cli.connection import asked
from fogline.cli.failures import UsageError
from fogline.cli.options import OPERATOR, OperatorOptions
from fogline.monitoring.human import human_bytes
from fogline.monitoring.run_files import RunFiles
from fogline.network.cloud.client import Client
from fogline.network.cloud.results import Contents

JOB = "cloud.json"
"""In the folder: which job of which cloud it is."""


def result(job: str = "", /, *, to: Path | None = None, operator: OperatorOptions = OPERATOR) -> None:
    """Fetch a job's result from the cloud: history, model and plots, as far as they are there.

    Parameters
    ----------
    job
        Its id, or the beginning of it; by default the last job.
    to
        The folder to write into; by default runs/JOB.
    """

    async def ask(client: Client) -> tuple[Contents, Path]:
        records = await client.jobs(job)
        if not records:
            raise UsageError("There are no jobs; submit one: fogline jobs submit job.toml")
        chosen = records[-1].job
        where = to or Path("runs") / chosen
        _check_free(where, chosen)
        found = await client.result(chosen, where)
        (where / JOB).write_text(json.dumps({"job": chosen}))
        return found, where

    found, where = asked(operator.folder, ask)
    size = sum(file.size for file in found.files)
    print(f"{where}: {len(found.files)} files ({human_bytes(size)}) of job {found.job}, which is {found.state}.")
    run = RunFiles(where)
    if run.info.is_file() and not run.is_finished:
        print(f"No model and no table are there; {run.metrics.name} has the rounds so far.")
    else:
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

"""``fogline board``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from fogline.cli.failures import UsageError
from fogline.cli.options import COMMON, CommonOptions
from fogline.dashboard.runs import RunsBoard
from fogline.dashboard.server import until_ended
from fogline.monitoring.run_files import RUNS

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


def board(*run: Path, port: Port = 0, options: CommonOptions = COMMON) -> None:
    """Show runs in the browser, also while they run: their trees, curves, times, bytes and settings, side by side.

    Only this machine can open the page.

    Parameters
    ----------
    run
        Folders of runs. By default all in runs/, and those that begin there meanwhile.
    port
        Of this machine. By default a free one.
    """
    root = None if run else RUNS
    if root is not None and not root.is_dir():
        raise UsageError(f"There are no runs in {RUNS}/; name a run's folder, or begin one: fogline simulate job.toml")
    folders = run or sorted(file.parent for file in RUNS.glob("*/run.json"))
    asyncio.run(until_ended(RunsBoard(folders, root), port))

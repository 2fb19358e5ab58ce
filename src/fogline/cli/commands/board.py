"""``fogline board``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from fogline.cli.failures import UsageError
from fogline.cli.options import COMMON, CommonOptions
from fogline.monitoring.run_files import RUNS

if TYPE_CHECKING:
    from fogline.dashboard.board import Board
    from fogline.network.cloud.client import Client

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


def board(*run: Path, cloud: Path | None = None, port: Port = 0, options: CommonOptions = COMMON) -> None:
    """Show runs, or a cloud and its tree, in the browser, live.

    Only this machine can open the page. Of a cloud it shows, and lets you do, what your role may.

    Parameters
    ----------
    run
        Folders of runs. By default all in runs/, and those that begin there meanwhile.
    cloud
        Your folder of a cloud (its operator's, or the one that you joined with): shows that cloud instead of runs.
    port
        Of this machine. By default a free one.
    """
    if cloud is not None and run:
        raise UsageError("--cloud shows a cloud, and RUN runs; leave one of them out")
    from fogline.dashboard.server import until_ended

    asyncio.run(until_ended(_board_of_runs(run) if cloud is None else board_of_cloud(cloud), port))


def _board_of_runs(runs: tuple[Path, ...]) -> Board:
    from fogline.dashboard.runs import RunsBoard  # The one needs no gRPC, and the other no job of a file.

    if not runs and not RUNS.is_dir():
        raise UsageError(f"There are no runs in {RUNS}/; name a run's folder, or begin one: fogline simulate job.toml")
    folders = runs or sorted(file.parent for file in RUNS.glob("*/run.json"))
    return RunsBoard(folders, None if runs else RUNS)


def board_of_cloud(folder: Path) -> Board:
    """A cloud, as the person of a folder may see and steer it.

    Raises:
        TrustError: the folder is no operator's.
    """
    from fogline.cli.commands.models.approval import catch_up
    from fogline.cli.connection import cloud_of, facts_of, operator_folder
    from fogline.dashboard.cloud import CloudBoard

    facts, place = facts_of(folder), operator_folder(folder)

    async def before_steering(client: Client) -> None:
        await catch_up(client, folder)

    return CloudBoard(lambda: cloud_of(folder), place, facts.name, before_steering)

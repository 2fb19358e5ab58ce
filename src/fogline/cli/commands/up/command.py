"""``fogline up``: what it takes."""

from __future__ import annotations

from pathlib import Path

from fogline.cli.commands.up.plan import UpOptions
from fogline.cli.commands.up.run import run_up
from fogline.cli.options import COMMON, CommonOptions, Flag, Many


def up(
    job: Path,
    /,
    *,
    fogs: int | None = None,
    devices: int | None = None,
    set: Many = (),
    seed: int | None = None,
    folder: Path | None = None,
    keep: Flag = False,
    serve: Flag = False,
    board: Flag = False,
    quiet: Flag = False,
    options: CommonOptions = COMMON,
) -> None:
    """Run a job on a cloud, fogs and devices that are real processes on this machine, over mutual TLS.

    Parameters
    ----------
    job
        The job file (TOML).
    fogs
        Fogs of the tier above the devices; by default as the job says.
    devices
        Devices; by default one for each client of the task's data. Where the task takes a parameter called clients,
        it is set to that many.
    set
        Change a key of the job: --set rounds=20. May be given several times.
    seed
        Short for --set seed=N.
    folder
        Where the nodes live; by default a temporary folder.
    keep
        Leave the nodes' folders there at the end.
    serve
        In the end the devices answer predictions with the model, and one more round is rolled out meanwhile;
        quickly, as far as the job does not say how.
    board
        Serve a page that shows the tree, the rounds and the model, live, and print its address: open it in a browser.
    quiet
        Show no progress, only the result.
    """
    overrides = (*set, *(() if seed is None else (f"seed={seed}",)))
    run_up(job, UpOptions(overrides, fogs, devices, folder, keep or folder is not None, quiet, serve, board))

"""``fogline up``."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from fogline.cli.failures import reported
from fogline.cli.options import Flag, Many


def add_to(app: App) -> None:
    """Add this command."""
    app.command(up)


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
    quiet: Flag = False,
    debug: Flag = False,
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
    quiet
        Show no progress, only the result.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.up.run import Wishes, run_up

    overrides = (*set, *(() if seed is None else (f"seed={seed}",)))
    with reported(debug):
        run_up(job, Wishes(overrides, fogs, devices, folder, keep or folder is not None, quiet, serve))

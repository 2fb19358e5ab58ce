"""``fogline simulate`` and ``fogline show``."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from fogline.cli.failures import reported
from fogline.cli.options import Flag, Many


def add_to(app: App) -> None:
    """Add these commands."""
    app.command(simulate)
    app.command(show)


def simulate(
    job: Path | None = None,
    /,
    *,
    set: Many = (),
    resume: Path | None = None,
    seed: int | None = None,
    engine: str | None = None,
    processes: int | None = None,
    folder: Path | None = None,
    quiet: Flag = False,
    debug: Flag = False,
) -> None:
    """Run a job on simulated devices, in virtual time.

    Parameters
    ----------
    job
        The job file (TOML).
    set
        Change a key of the job: --set rounds=20, --set fog.deadline=10s. May be given several times.
    resume
        Go on with the run in this folder, from its last checkpoint; with --set rounds=N, to more rounds than before.
    seed
        Short for --set seed=N: decides everything random.
    engine
        Short for --set engine=NAME: see fogline engines. By default the fastest is measured.
    processes
        Short for --set processes=N: worker processes, 0 for none. By default one per core.
    folder
        Where the run is kept. By default a fresh folder below runs/.
    quiet
        Show no progress, only the result.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.simulate import run_job

    named = {"seed": seed, "engine": engine, "processes": processes}
    overrides = [*set, *(f"{key}={value}" for key, value in named.items() if value is not None)]
    with reported(debug):
        run_job(job, overrides, resume, folder, quiet)


def show(run: Path, /, *, debug: Flag = False) -> None:
    """Show the result of a finished run.

    Parameters
    ----------
    run
        The run's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.simulate import show_run

    with reported(debug):
        show_run(run)

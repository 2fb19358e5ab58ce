"""The commands and their options. What they do is imported when one runs, so that help is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from fogline.cli.failures import reported

EPILOGUE = "A first run: fogline simulate job.toml. Add --help to a command for its options."

app = App(
    name="fogline",
    help="Federated learning across a cloud, fog nodes and devices.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    version=lambda: _version(),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

Flag = Annotated[bool, Parameter(negative="", show_default=False)]


@app.command
def simulate(
    job: Path | None = None,
    /,
    *,
    set: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
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


@app.command
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


@app.command
def algorithms(*, debug: Flag = False) -> None:
    """List the methods, and the policies that select devices.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_algorithms

    with reported(debug):
        list_algorithms()


@app.command
def datasets(*, debug: Flag = False) -> None:
    """List the data sets that Fogline can load, and whether their files are here.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_datasets

    with reported(debug):
        list_datasets()


@app.command
def engines(*, debug: Flag = False) -> None:
    """List the training engines of every backend that is installed.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    from fogline.cli.lists import list_engines

    with reported(debug):
        list_engines()


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry of the ``fogline`` command: exits with 2 for wrong input, 1 for a failed run, 130 after Ctrl-C.

    Args:
        arguments: what stands after ``fogline``; the process's own if None.
    """
    try:
        app(sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(f"fogline: {str(error).strip()} (fogline --help lists what there is)", file=sys.stderr)
        raise SystemExit(2) from None


def _version() -> str:
    from importlib.metadata import version

    return f"fogline {version('fogline')}"

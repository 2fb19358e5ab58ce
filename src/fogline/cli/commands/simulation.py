"""``fogline simulate`` and ``fogline show``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from fogline.cli.failures import Interrupted, RoundsLostError
from fogline.cli.options import COMMON, CommonOptions, Flag, Many, Several
from fogline.jobs import Job
from fogline.jobs.errors import JobError, suggest
from fogline.jobs.loading import load_task
from fogline.jobs.reading import read_job
from fogline.jobs.resuming import check_changes
from fogline.monitoring.folder import FolderError, RunFolder
from fogline.monitoring.mishaps import lost_in_words
from fogline.monitoring.progress import Live, Silent
from fogline.monitoring.result import Result
from fogline.monitoring.run_files import RunFiles, load_run
from fogline.monitoring.table import next_steps, result_table
from fogline.monitoring.trackers.base import Together, tracker

if TYPE_CHECKING:
    from fogline.training import Task


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
    baseline: Several = (),
    attack: str | None = None,
    malicious: str | None = None,
    to: Several = (),
    quiet: Flag = False,
    options: CommonOptions = COMMON,
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
    baseline
        Short for --set evaluation.baselines=[...]: at the end, compare with the same model trained on all data in one
        place (pooled), or by each device alone (alone); both: --baseline pooled alone.
    attack
        Short for --set attack.name=NAME: what malicious devices do, such as alie or "ipm(tau=2)"; see fogline
        algorithms.
    malicious
        Short for --set attack.malicious=N: how many devices are malicious, a count or a share; by default 0.2.
    to
        Where else the run goes, live: tensorboard=FOLDER, mlflow=URI, or both.
    quiet
        Show no progress, only the result.
    """
    trackers = [tracker(text) for text in to]
    named = {"seed": seed, "engine": engine, "processes": processes}
    named |= {"attack.name": attack, "attack.malicious": malicious}
    overrides = [*set, *(f"{key}={value}" for key, value in named.items() if value is not None)]
    if baseline:
        overrides.append(f"evaluation.baselines={list(baseline)}")
    if resume is None:
        wanted, home = _job_of(job, overrides)
        changed = False
    else:
        if job is not None or folder is not None:
            raise JobError("--resume goes on with the job in the run's folder; leave out the job file and --folder")
        wanted, home, changed = _job_to_resume(resume, overrides)
    task = load_task(wanted, home)
    check_names(wanted, task)
    from fogline.simulation.run import run  # Not before the input is known to be right: it is heavy.

    kept = RunFolder.reopen(resume, changed=changed) if resume is not None else RunFolder.create(folder, wanted)
    try:
        with kept:
            result = run(wanted, task, kept, progress=Together([Silent() if quiet else Live(), *trackers]))
    except FolderError as error:
        if error.result is not None:
            print_result(error.result)
        raise
    except KeyboardInterrupt:
        raise Interrupted(_how_to_go_on(kept, wanted)) from None
    print_result(result)
    check_rounds(result)


def show(run: Path, /, *, options: CommonOptions = COMMON) -> None:
    """Show the result of a finished run.

    Parameters
    ----------
    run
        The run's folder.
    """
    print_result(load_run(run))


def check_names(job: Job, task: Task) -> None:
    """Whether there are such methods, rules, policies and engines, with such parameters.

    Raises:
        JobError: there are not; one sentence.
    """
    from fogline.algorithms import make
    from fogline.jobs.rules import rules_of
    from fogline.nodes.policies import make_policy

    try:
        rules_of(job, make(job.algorithm.name, **job.algorithm.parameters))
        for tier in job.tree.tiers.values():
            make_policy(tier.policy, **tier.policy_parameters)
    except ValueError as error:
        raise JobError(str(error)) from error
    engines = task.engines()
    if job.engine is not None and job.engine not in engines:
        raise JobError(f"There is no engine '{job.engine}' for task '{task.name}'{suggest(job.engine, engines)}")


def print_result(result: Result, first: Sequence[tuple[str, str]] = ()) -> None:
    """The table and what to try next, on standard output; ``first``: (why, command) to stand before the rest."""
    console = Console()
    console.print()
    console.print(result_table(result), highlight=False)
    console.print()
    for why, command in [*first, *next_steps(result)]:
        console.print(f"[dim]{why}:[/] {command}", highlight=False, soft_wrap=True)


def check_rounds(result: Result) -> None:
    """Whether every round that a finished run was to make counted.

    Raises:
        RoundsLostError: some came to nothing.
    """
    if result.lost_rounds:
        why = result.reasons.get("abandoned", "")
        words = lost_in_words(result.lost_rounds, result.job.rounds, f"first: {why}" if why else "")
        raise RoundsLostError(f"{words}; the model is that of the rounds that counted.")


def _job_of(file: Path | None, overrides: Sequence[str]) -> tuple[Job, Path]:
    """The job of a file, and where its task lies."""
    if file is None:
        raise JobError("name a job file (fogline simulate job.toml), or a run to go on with (--resume RUN)")
    return read_job(file, overrides), _task_home(file)


def _job_to_resume(run: Path, overrides: Sequence[str]) -> tuple[Job, Path, bool]:
    """The job of a run to go on with, where its task lies, and whether the overrides change it."""
    kept = RunFiles(run)
    kept.read_info()  # Or there is no run.
    home = _task_home(kept.job_file)
    before, job = kept.read_job(), kept.read_job(overrides)
    check_changes(before, job)
    return job, home, job != before


def _task_home(file: Path) -> Path:
    """Where a job file's task lies: beside it, or, for a run's resolved job, where the run found it."""
    folder = RunFiles(file.parent)
    if not folder.info.exists():
        return file.parent
    if folder.task_unnamed():
        raise JobError(
            f"The run in {folder.path} was started in Python, and its task cannot be made again from here: "
            f"{folder.task_unnamed()}; go on with it in that program: "
            f'fogline.simulate(..., folder="{folder.path}", resume=True)'
        )
    return folder.task_folder() or file.parent


def _how_to_go_on(folder: RunFiles, job: Job) -> str:
    rounds = len(folder.history())
    if any(folder.checkpoints.glob("round-*")):
        return f"Interrupted after {rounds} of {job.rounds} rounds. Go on with: fogline simulate --resume {folder.path}"
    return (
        f"Interrupted after {rounds} of {job.rounds} rounds, before the first checkpoint. "
        f"Start again with: fogline simulate --resume {folder.path}"
    )

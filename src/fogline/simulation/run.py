"""``fogline.simulate``: one call from a task to a result."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fogline.algorithms import Algorithm, algorithms
from fogline.algorithms.device import prepare
from fogline.jobs import Evaluation, Job, JobError, Local, Method, Tree, check
from fogline.simulation import checkpoint
from fogline.simulation.executor import Executor
from fogline.simulation.folder import RunFolder
from fogline.simulation.progress import Live, Progress, Silent
from fogline.simulation.recorder import Recorder
from fogline.simulation.result import Result
from fogline.simulation.setup import (
    Setting,
    cohort_size,
    details_needed,
    hello_of,
    planner,
    probe,
    setting_of,
    simulator_of,
)
from fogline.training import Choice, choose
from fogline.training.local import ClientJob
from fogline.training.task import Task


def simulate(
    task: Task,
    algorithm: str | Algorithm = "fedavg",
    tree: Tree | None = None,
    *,
    rounds: int = 50,
    local: Local | Mapping[str, Any] | None = None,
    devices: str | Mapping[str, Any] | None = None,
    links: Mapping[str, Any] | None = None,
    evaluation: Evaluation | Mapping[str, Any] | None = None,
    seed: int = 0,
    exact: bool = False,
    engine: str | None = None,
    chunk: int | None = None,
    processes: int | None = None,
    name: str = "run",
    folder: Path | str | None = None,
    progress: Progress | bool = True,
) -> Result:
    """Simulate federated training over a tree of aggregators and unequal devices.

    Args:
        task: model and federated data.
        algorithm: a name of ``fogline algorithms``, or an instance.
        tree: tiers of aggregators; None is one cloud with all devices below it.
        rounds: rounds of the root.
        local: local training (learning rate, batch size, epochs …).
        devices: profile of devices and their links: a preset's name, or a table.
        links: profile of the links between aggregators.
        evaluation: when and on what the model is judged.
        seed: decides everything random; one seed and one engine (with its chunk) give one model, to the bit.
        exact: fold in fixed point, so that the tree's shape does not change a bit.
        engine, chunk: how training is run; None measures the first cohort.
        processes: worker processes; None takes one per core, 0 trains in this one.
        name: of the run.
        folder: where to keep model, metrics and plots; None keeps nothing on disk.
        progress: whether to show progress, or where.

    Returns:
        The result: final metrics, history, model.

    Raises:
        JobError: a setting is impossible; one sentence.
    """
    job = check(
        {
            "name": name,
            "algorithm": Method(name=algorithm) if isinstance(algorithm, str) else method_of(algorithm),
            "tree": tree or Tree(),
            "rounds": rounds,
            "local": local or {},
            "devices": {"preset": devices} if isinstance(devices, str) else devices or {},
            "links": links or {},
            "evaluation": evaluation or {},
            "seed": seed,
            "exact": exact,
            "engine": engine,
            "chunk": chunk,
            "processes": processes,
        }
    )
    method = None if isinstance(algorithm, str) else algorithm
    if folder is None:
        return run(job, task, algorithm=method, progress=progress)
    with RunFolder.create(Path(folder), job) as kept:
        return run(job, task, kept, algorithm=method, progress=progress)


def method_of(algorithm: Algorithm) -> Method:
    """How a job names an algorithm: by its registered name, or as ``module:Class``."""
    kind = type(algorithm)
    names = [name for name, known in algorithms().items() if known is kind]
    parameters = {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}
    return Method(name=names[0] if names else f"{kind.__module__}:{kind.__qualname__}", parameters=parameters)


def run(
    job: Job,
    task: Task,
    folder: RunFolder | None = None,
    *,
    algorithm: Algorithm | None = None,
    progress: Progress | bool = True,
) -> Result:
    """Run a job, from its last checkpoint if its folder has one.

    Args:
        job: the whole description.
        task: model and data.
        folder: where rows, checkpoints and the result are kept.
        algorithm: the instance, where the job's name alone cannot make it (a class of a notebook).
        progress: whether to show progress, or where.

    Raises:
        JobError: a setting is impossible; one sentence.
    """
    show = progress if isinstance(progress, Progress) else (Live() if progress else Silent())
    with ExitStack() as stack:
        stack.callback(show.close)
        stack.enter_context(task.one_thread())
        try:
            setting = setting_of(job, task, algorithm)
        except ValueError as error:  # Methods, policies and profiles say what is wrong with their parameters.
            raise JobError(str(error)) from error
        show.started(
            job,
            population=len(setting.homes),
            fogs=len(job.tree.leaves()),
            headline=task.headline,
            unit=task.units.get(task.headline, ""),
        )
        processes = len(os.sched_getaffinity(0)) if job.processes is None else job.processes
        choice = _choose(setting, processes)
        job = setting.job = setting.job.model_copy(update={"engine": choice.engine, "chunk": choice.chunk})
        show.engine(choice.engine, choice.chunk, processes)
        executor = stack.enter_context(
            Executor(
                task,
                setting.algorithm,
                lambda: task.build(choice.engine, setting.algorithm, setting.local),
                choice.chunk,
                processes,
            )
        )
        recorder = Recorder(setting, executor, [show.round])
        simulator = recorder.simulator = simulator_of(
            setting, executor, probe(setting), recorder.trained, recorder.moved
        )
        if folder is not None:
            _keep(folder, job, recorder)
        simulator.join(job.tree.parents(), hello_of(setting, details_needed(setting)))
        simulator.run()
        if recorder.resume_at >= 0 and simulator.store.replaying:
            raise JobError(f"The checkpoint of round {recorder.resume_at + 1} is not of this job; start a new run.")
        result = recorder.result()
        if folder is not None:
            result.folder = folder.finish(result)
        show.finished(result)
    return result


def _choose(setting: Setting, processes: int) -> Choice:
    """Engine and chunk for the job: what it names, or what is fastest on a cohort like its own."""
    job, task, algorithm = setting.job, setting.task, setting.algorithm
    plan = planner(setting)
    clients = range(min(len(setting.homes), cohort_size(job.tree, len(setting.homes))))
    jobs: list[ClientJob] = []
    for client in clients:
        planned = plan(client, 0, 0)
        start, counters = setting.initial.vector, setting.initial.counters
        work = ClientJob(client, start, counters, planned.steps, planned.learning_rate, planned.seed)
        jobs.append(prepare(algorithm, task, work))
    try:
        return choose(
            task, algorithm, setting.local, jobs, engine=job.engine, chunk=job.chunk, processes=max(1, processes)
        )
    except ValueError as error:
        raise JobError(str(error)) from error


def _keep(folder: RunFolder, job: Job, recorder: Recorder) -> None:
    """Write rows and checkpoints into the run's folder; go on from its last checkpoint if there is one."""
    simulator = recorder.simulator
    folder.write_job(job)
    past = checkpoint.latest(folder.checkpoints)
    if past is not None:
        notes = checkpoint.notes_of(past)
        recorder.resume_at = notes["round"]
        recorder.history = folder.truncate(notes["round"] + 1)
        simulator.store.replaying = True
        simulator.losses = {update: (loss, why) for update, (loss, why) in notes["losses"].items()}
        recorder.on_resumed = lambda: checkpoint.restore(past, simulator)
    recorder.on_round.append(folder.append)
    recorder.checkpoint = lambda round_index: checkpoint.write(folder.checkpoints, round_index, simulator)

"""A job, from its description to its result, on simulated devices."""

from __future__ import annotations

from contextlib import ExitStack

from fogline.algorithms import Algorithm
from fogline.algorithms.device import tried
from fogline.algorithms.group import Down
from fogline.compute.device import client_job
from fogline.jobs import Job, JobError
from fogline.jobs.job import asks_beside
from fogline.jobs.planning import planner
from fogline.jobs.protection.budget import why_fewer
from fogline.jobs.protection.promise import promise_of
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.history import Attendance
from fogline.monitoring.mishaps import RunError
from fogline.monitoring.progress import Live, Progress, Silent
from fogline.monitoring.record import Baseline
from fogline.monitoring.result import Result
from fogline.simulation import checkpoint
from fogline.simulation.baselines import FinishedRun, check_baselines, make_baselines
from fogline.simulation.callbacks import OnRound
from fogline.simulation.executors import Bench, Executor, executor_for, useful_processes
from fogline.simulation.recorder import Recorder
from fogline.simulation.setup import (
    Setting,
    cohort_size,
    hello_of,
    setting_of,
    simulator_of,
)
from fogline.simulation.sizing import probe
from fogline.simulation.surveys.survey import Surveys
from fogline.simulation.tree_watch import TreeWatch
from fogline.simulation.turns import too_few_turns
from fogline.simulation.witness import RunWitness
from fogline.training import Choice, autotune
from fogline.training.local import ClientJob
from fogline.training.task import Task
from fogline.user_code.bugs import CodeError, attempt, blame, naming_lost_gpus
from fogline.user_code.loading import loading_of


def run(
    job: Job,
    task: Task,
    folder: RunFolder | None = None,
    *,
    algorithm: Algorithm | None = None,
    progress: Progress | bool = True,
    on_round: OnRound | None = None,
    witness: RunWitness | None = None,
) -> Result:
    """Run a job, from its last checkpoint if its folder has one.

    Args:
        job: the whole description.
        task: model and data.
        folder: where rows, checkpoints and the result are kept.
        algorithm: the instance, where the job's name alone cannot make it (a class of a notebook).
        progress: whether to show progress, or where.
        on_round: told of every round, and may end the run.
        witness: looks on.

    Raises:
        JobError: a setting is impossible; one sentence.
        RunError: no round counted; it says why the devices failed.
    """
    show = progress if isinstance(progress, Progress) else (Live() if progress else Silent())
    task.seed = job.seed
    with ExitStack() as stack:
        stack.callback(show.close)
        stack.enter_context(naming_lost_gpus())
        stack.enter_context(task.one_thread())
        stack.enter_context(task.exact_arithmetic())
        setting = _set_up(job, task, algorithm)
        task = setting.task
        baselines = check_baselines(job, task)
        _announce(show, setting, job)
        executor = stack.enter_context(_executor_of(setting, show))
        job = setting.job
        recorder = Recorder(setting, executor, [show.round], show.note, on_round)
        sizes = probe(setting)
        simulator = recorder.simulator = simulator_of(
            setting, executor, sizes, recorder.trained, recorder.moved, witness
        )
        if asks_beside(job) or recorder.measured:
            store = simulator.store
            recorder.surveys = Surveys(setting, sizes, simulator.traffic, executor, lambda: store.locals)
        if folder is not None:
            _keep(folder, setting, recorder)
        simulator.join(job.tree.parents(), hello_of(setting, job.tree.wants_details(setting.algorithm.mode)))
        simulator.run()
        if recorder.watch is not None:
            recorder.watch.end()
        _check_rounds(recorder)
        result = recorder.result()
        finished = FinishedRun(setting, executor, recorder.history)
        kept, keep = ({}, _forget) if folder is None else (folder.read_baselines(), folder.keep_baseline)
        result.baselines = make_baselines(finished, baselines, kept, keep, show.note)
        if folder is not None:
            result.folder = folder.finish(result)
        show.finished(result)
    return result


def _announce(show: Progress, setting: Setting, asked: Job) -> None:
    """Say what begins, what it promises, and where it will be other than was asked for."""
    job, task = setting.job, setting.task
    show.started(
        job,
        population=len(setting.homes),
        fogs=len(job.tree.leaves()),
        headline=task.headline,
        unit=task.units.get(task.headline, ""),
    )
    if promise := promise_of(job, simulated=True):
        show.note(promise)
    if fewer := why_fewer(asked, job):
        show.note(fewer)
    for warning in too_few_turns(job.tree, setting.rules, list(task.data.clients), setting.homes):
        show.note(warning)


def _check_rounds(recorder: Recorder) -> None:
    """See that there is something to show for it.

    Raises:
        JobError: the checkpoint was another run's.
        RunError: no round counted.
    """
    simulator = recorder.simulator
    if recorder.resume_at >= 0 and simulator.store.replaying:
        raise JobError(f"The checkpoint of round {recorder.resume_at + 1} is not of this job; start a new run.")
    if not recorder.history:
        raise RunError(recorder.setting.job.rounds, simulator.traffic.mishaps)


def _forget(_: Baseline) -> None:
    """Where a run has no folder, nothing is kept."""


def _executor_of(setting: Setting, show: Progress) -> Executor:
    """What trains, with an engine that suits it; both are written into the setting's job and shown."""
    task, algorithm, local = setting.task, setting.algorithm, setting.local
    kind, wanted = executor_for(setting.job, task)
    devices = _devices_at_once(setting)
    choice = _choose(setting, useful_processes(kind, wanted, devices))
    processes = useful_processes(kind, wanted, -(-devices // choice.chunk))
    if processes < wanted:
        show.note(f"processes is {wanted}, but no more than {processes} would be of use; so many are started.")
    setting.job = with_choice(setting.job, choice)
    show.engine(choice.engine, choice.chunk, processes)
    for name, why in choice.refused.items():
        show.note(f"Engine {name} is not used: {why}")
    bench = Bench(task, algorithm, lambda: task.build(choice.engine, algorithm, local), choice.chunk, setting.job)
    return kind(bench, processes)


def _set_up(job: Job, task: Task, algorithm: Algorithm | None) -> Setting:
    """Check the job against the task.

    Raises:
        JobError: a setting is impossible; one sentence.
        CodeError: code that loads a client, or makes the model, is wrong.
    """
    setting = attempt(lambda: _prepared(job, task, algorithm))
    # Methods, policies and profiles say what is wrong with their parameters.
    if isinstance(setting, ValueError) and not loading_of(setting):
        raise JobError(str(setting)) from setting
    if isinstance(setting, Exception):
        raise blame("preparing the run", setting)  # A function that loads a client, or makes the model.
    return setting


def _prepared(job: Job, task: Task, algorithm: Algorithm | None) -> Setting:
    setting = setting_of(job, task, algorithm)
    task.data.sizes()  # What cannot be loaded says so now; the sizes are kept.
    return setting


def _devices_at_once(setting: Setting) -> int:
    return min(len(setting.homes), cohort_size(setting.job.tree, len(setting.homes)))


def _choose(setting: Setting, processes: int) -> Choice:
    """Engine and chunk for the job: what it names, or what is fastest on a cohort like its own.

    Raises:
        JobError: no engine can run the job; one sentence.
        CodeError: a hook is wrong, or the code that loads clients' data, for every client that is looked at.
    """
    job, task, algorithm = setting.job, setting.task, setting.algorithm
    plan = planner(job, task.data, algorithm)
    clients, shared = range(_devices_at_once(setting)), setting.shared
    first = Down(shared.vector, shared.counters)
    jobs, later = list[ClientJob](), list[ClientJob]()
    for client in clients:
        planned = plan(client, 0, 0)
        its_first, *others = tried(algorithm, task, client_job(client, first, planned, {}))
        jobs.append(its_first)
        later += others
    choice = attempt(
        lambda: autotune(
            task,
            algorithm,
            setting.local,
            jobs,
            later=later,
            engine=job.engine,
            chunk=job.chunk,
            processes=max(1, processes),
            compared=job.engine_compared,
        )
    )
    if isinstance(choice, Choice):
        return choice
    if isinstance(choice, CodeError) or loading_of(choice):
        raise blame("choosing an engine", choice).at("While an engine is chosen")
    if isinstance(choice, ValueError):
        raise JobError(str(choice)) from choice
    raise choice


def with_choice(job: Job, choice: Choice) -> Job:
    """The job with what was chosen, and why not otherwise; reasons of a run that goes on are kept."""
    return job.model_copy(
        update={
            "engine": choice.engine,
            "chunk": choice.chunk,
            "engine_compared": choice.compared,
            "engines_refused": {**job.engines_refused, **choice.refused},
        }
    )


def _keep(folder: RunFolder, setting: Setting, recorder: Recorder) -> None:
    """Write rows, checkpoints and how the nodes stand into the run's folder; go on from its last checkpoint if there is
    one."""
    simulator, task = recorder.simulator, setting.task
    folder.write_job(setting.job)
    folder.note_metric(task.headline, task.units.get(task.headline, ""), task.higher_is_better)
    past = checkpoint.latest(folder.checkpoints)
    if past is None:
        recorder.history = folder.truncate(0)
    else:
        notes = checkpoint.notes_of(past)
        if notes["layout"] != recorder.setting.task.shared.digest:
            raise JobError(f"The run in {folder.path} trains another model than this task; start a new run.")
        recorder.resume_at = notes["round"]
        recorder.history = folder.truncate(notes["round"] + 1)
        recorder.attendance = Attendance(recorder.history)
        simulator.store.replaying = True
        simulator.losses = {update: (loss, why) for update, (loss, why) in notes["losses"].items()}
        simulator.scores = {
            model: [(child, score) for child, score in scores] for model, scores in notes.get("scores", {}).items()
        }
        if simulator.steps is not None:
            simulator.steps.outcomes = notes["steps"]
        if recorder.surveys is not None:
            recorder.surveys.outcomes = notes.get("judged", {})
        recorder.on_resumed = lambda: checkpoint.restore(past, simulator)
    recorder.on_round.append(folder.append)
    with folder.writing():
        clients = list(task.data.clients)
        watch = recorder.watch = TreeWatch(folder, setting.job.tree, simulator, clients, setting.homes)
    simulator.began, simulator.traffic.mishaps.listener = watch.began, watch.counted

    def write(round_index: int) -> None:
        with folder.writing():
            judged = None if recorder.surveys is None else recorder.surveys.outcomes
            checkpoint.write(folder.checkpoints, round_index, simulator, judged)

    recorder.checkpoint = write

"""``fogline.simulate``: one call from a task to a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fogline.algorithms import Algorithm, make
from fogline.algorithms.device import tried
from fogline.algorithms.group import Down
from fogline.compute.device import client_job
from fogline.jobs import Evaluation, Job, JobError, Local, Method, Tree, check
from fogline.jobs.files.naming import TaskOrigin, method_of, origin_of
from fogline.jobs.files.reading import parse_job
from fogline.jobs.files.writing import job_to_toml
from fogline.jobs.job import asks_beside
from fogline.jobs.loading import check_not_importing
from fogline.jobs.modules import class_name
from fogline.jobs.planning import planner, with_defaults
from fogline.jobs.privacy import Privacy
from fogline.jobs.protection.budget import account_of, why_fewer, within_budget
from fogline.jobs.protection.promise import promise_of
from fogline.jobs.resuming import check_changes
from fogline.jobs.shares import Shares
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.history import Attendance
from fogline.monitoring.mishaps import RunError
from fogline.monitoring.progress import Live, Progress, Silent
from fogline.monitoring.record import Baseline
from fogline.monitoring.result import Result
from fogline.simulation import checkpoint
from fogline.simulation.attacks import ATTACKS, Attack
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


def simulate(
    task: Task,
    algorithm: str | Algorithm = "fedavg",
    tree: Tree | None = None,
    *,
    rounds: int = 50,
    start: Path | str | None = None,
    local: Local | Mapping[str, Any] | None = None,
    devices: str | Mapping[str, Any] | None = None,
    shares: Shares | Mapping[str, Any] | None = None,
    links: Mapping[str, Any] | None = None,
    evaluation: Evaluation | Mapping[str, Any] | None = None,
    queries: str | Sequence[str] = (),
    privacy: Privacy | Mapping[str, Any] | None = None,
    seed: int = 0,
    exact: bool = False,
    engine: str | None = None,
    chunk: int | None = None,
    processes: int | None = None,
    name: str = "run",
    folder: Path | str | None = None,
    resume: bool = False,
    progress: Progress | bool = True,
    on_round: OnRound | None = None,
    baselines: str | Sequence[str] = (),
    executor: str | None = None,
    attack: str | Attack | Mapping[str, Any] | None = None,
) -> Result:
    """Simulate federated training over a tree of aggregators and unequal devices, on a virtual clock.

    The tables may be mappings instead of objects; docs/jobs.md describes every key of theirs.

    Args:
        task: model and federated data: a ``fogline.Task`` (PyTorch) or a ``fogline.SklearnTask``.
        algorithm: a name of ``fogline algorithms``, with its default parameters; or an instance, also of a class of
            one's own.
        tree: tiers of aggregators by name, the root first, with devices below the last:
            ``Tree(cloud=Tier(), fog=Tier(count=5, cohort=8, deadline=10))``. Deadlines are seconds or text
            (``"5min"``); cohorts are counts, or shares above 0 and at most 1. None is one cloud with all devices
            below it.
        rounds: rounds of the root, at least 1.
        start: a model to begin with (safetensors), such as another run's; None: an untrained one.
        local: local training, a ``fogline.Local`` or its fields: ``learning_rate``, ``batch_size`` (examples),
            ``epochs`` or ``steps`` per round, ``optimizer`` …
        devices: profile of the devices: a preset's name (``"phones"``), or fields, with ``preset`` as what they differ
            from. Speeds are examples per second of a model of 1 MFLOP per example, bandwidths bytes per second or text
            (``"10Mbit"``), times seconds or text, ``dropout`` and ``loss`` shares. None: equal devices.
        shares: how much of the model each device trains, a ``Shares`` or its fields: ``devices`` (by pattern of names),
            ``speed``, ``memory``; of a method that has smaller models (docs/unequal-devices.md). None: all of it.
        links: profile of the links between aggregators: ``up`` and ``down`` (bytes per second or text), ``rtt``
            (seconds or text), ``loss`` (share of packets). None: 100 Mbit/s and 20 ms.
        evaluation: a ``fogline.Evaluation`` or its fields: ``every`` (rounds between two judgements), ``target`` (of
            the headline metric, in its unit; accuracies from 0 to 1), ``stop_at_target``, ``patience`` (judgements),
            ``where`` (``"cloud"``: the common test set; ``"devices"``: each on a ``share`` of its examples that never
            trains; ``"both"``), ``cohort``, ``fine_tune``; see docs/evaluation.md.
        queries: what devices are asked of their examples, once, after the first round: ``"label_counts"``; see
            docs/evaluation.md.
        privacy: differential privacy, a ``fogline.Privacy`` or its fields: ``unit``, ``mechanism``, ``at``, ``clip``
            (L2 norm), ``noise`` (standard deviation over ``clip``) …; see docs/privacy.md. None: none.
        seed: at least 0; decides everything random. One seed and one engine (with its chunk) give one model, bit for
            bit, with any number of processes.
        exact: fold in fixed point, so that neither the tree's shape nor the order changes a bit.
        engine: name of a training engine (``fogline engines``); None takes the fastest on the first cohort.
        chunk: devices that the engine trains together; None measures.
        processes: worker processes of one thread each; 0 trains in this process, None takes one per core.
        name: what the run is called.
        folder: where rows, checkpoints, model, result and plots are kept; None keeps nothing on disk.
        resume: go on with the run in ``folder`` from its last checkpoint, or give its result if it has finished, or
            begin it if there is none; ``rounds`` may be more than before. False: ``folder`` must be empty of runs.
        progress: True shows progress on standard error or in the notebook, False nothing; or a ``Progress`` to tell.
        on_round: ``on_round(row, model, state)`` is called after every round that is not repeated from a checkpoint:
            with the round's row of the history, the model as it is judged (``Params``) and the root aggregator's state
            by name, which can only be read. It may return ``fogline.STOP`` to end the run there.
        baselines: what the model is compared with at the end: ``"pooled"``, ``"alone"``, as ``evaluation.baselines``.
        executor: where cohorts are trained, by name (``fogline executors``); None goes by ``processes`` and the task.
        attack: what malicious devices do: a name of ``fogline algorithms``, with parameters in brackets
            (``"ipm(tau=2)"``), or an ``Attack``; a fifth of the devices does it. Or fields: ``name``, ``malicious``
            (count or share), ``at`` (``"devices"``, or a tier below the root), ``who`` (names); see docs/robustness.md.

    Returns:
        The result: the model (``params``), one row a round (``history``, or ``frame()`` for pandas), ``metrics`` of the
        model on the test set, their spread over ``devices`` and ``fogs``, ``baselines``, ``counts`` of mishaps;
        ``summary()`` and ``plot()`` show it. Times in it are seconds of the virtual clock (``seconds``) or of the wall
        clock (``wall``), traffic is bytes, energy joules, RMSE and MAE are in the target's own unit.

    Raises:
        JobError: a setting is impossible or differs from that of the run that goes on, or ``folder`` holds a run
            already; one sentence that names the key.
        CodeError: a hook of the algorithm, code of the task, or ``on_round`` is wrong; what it raised is the cause.
        FolderError: ``folder`` cannot be written; ``result`` of it is the run's, if that came to its end.
        RunError: no round counted; it says why the devices failed.
        RuntimeError: a worker process was killed.
    """
    check_not_importing()
    _check_arguments(task, algorithm)
    origin = TaskOrigin() if folder is None else origin_of(task)
    job = check(
        {
            "name": name,
            "task": origin.task,
            "task_parameters": origin.parameters,
            "algorithm": Method(name=algorithm) if isinstance(algorithm, str) else method_of(algorithm),
            "tree": tree or Tree(),
            "rounds": rounds,
            "start": str(start or ""),
            "local": local or {},
            "devices": {"preset": devices} if isinstance(devices, str) else devices or {},
            "shares": shares or {},
            "links": links or {},
            "evaluation": _with_baselines(evaluation or {}, baselines),
            "queries": (queries,) if isinstance(queries, str) else tuple(queries),
            "privacy": privacy,
            "seed": seed,
            "exact": exact,
            "engine": engine,
            "chunk": chunk,
            "executor": executor,
            "processes": processes,
            "attack": _attack_of(attack),
        }
    )
    method = None if isinstance(algorithm, str) else algorithm
    if folder is None:
        if resume:
            raise JobError('resume goes on with the run in a folder; name it too: folder="..."')
        return run(job, task, algorithm=method, progress=progress, on_round=on_round)
    kept = RunFolder(Path(folder))
    if resume and kept.info.exists():
        before = kept.read_job()
        job = _as_before(before, job, task, method)
        if kept.is_finished and job == before:
            return kept.load()
        kept = RunFolder.reopen(kept.path, changed=True)
    else:
        kept = RunFolder.create(kept.path, job, origin)
    with kept:
        return run(job, task, kept, algorithm=method, progress=progress, on_round=on_round)


def _with_baselines(
    evaluation: Evaluation | Mapping[str, Any], baselines: str | Sequence[str]
) -> Evaluation | Mapping[str, Any]:
    if not baselines:
        return evaluation
    more = {"baselines": (baselines,) if isinstance(baselines, str) else tuple(baselines)}
    if isinstance(evaluation, Evaluation):
        return evaluation.model_copy(update=more)
    return {**evaluation, **more}


def _attack_of(attack: str | Attack | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if isinstance(attack, Attack):
        return {"name": ATTACKS.text_of(attack, class_name(type(attack)))}
    return {"name": attack} if isinstance(attack, str) else attack


def _check_arguments(task: object, algorithm: object) -> None:
    """Refuse what is easily mistaken for a task or a method.

    Raises:
        JobError: it is another thing; the sentence says what is wanted.
    """
    if not isinstance(task, Task):
        raise JobError(f"task is {_kind(task)}; it must be a fogline.Task: Task(lambda: nn.Linear(4, 2), data)")
    if not isinstance(algorithm, str | Algorithm):
        call = algorithm.__name__ if isinstance(algorithm, type) and issubclass(algorithm, Algorithm) else "FedAvg"
        raise JobError(f"algorithm is {_kind(algorithm)}; it must be a name or an instance, such as {call}()")


def _kind(thing: object) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"of type {type(thing).__name__}"


def _as_before(before: Job, job: Job, task: Task, method: Algorithm | None) -> Job:
    """The job of a run that goes on: as it is asked for now, with what was found out and chosen then.

    Raises:
        JobError: it would change what was computed.
    """
    found = {key: getattr(before, key) for key in FOUND}
    found |= {key: getattr(before, key) for key in ("engine", "chunk") if getattr(job, key) is None}
    algorithm = method or make(job.algorithm.name, **job.algorithm.parameters)
    # Through TOML: the job of the folder came from there.
    job = with_defaults(job, algorithm, task)
    job = within_budget(account_of(job, algorithm, task.data), job).model_copy(update=found)
    after = parse_job(job_to_toml(job))
    check_changes(before, after)
    return after


FOUND = ("task", "task_parameters", "engine_compared", "engines_refused")
"""What a run finds out of itself: nobody asks for it."""


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
        asked, job = job, setting.job
        show.started(
            job,
            population=len(setting.homes),
            fogs=len(job.tree.leaves()),
            headline=task.headline,
            unit=task.units.get(task.headline, ""),
        )
        if promise := promise_of(setting.job, simulated=True):
            show.note(promise)
        if fewer := why_fewer(asked, job):
            show.note(fewer)
        for warning in too_few_turns(job.tree, setting.rules, list(task.data.clients), setting.homes):
            show.note(warning)
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
        if recorder.resume_at >= 0 and simulator.store.replaying:
            raise JobError(f"The checkpoint of round {recorder.resume_at + 1} is not of this job; start a new run.")
        if not recorder.history:
            raise RunError(job.rounds, simulator.traffic.mishaps)
        result = recorder.result()
        finished = FinishedRun(setting, executor, recorder.history)
        kept, keep = ({}, _forget) if folder is None else (folder.read_baselines(), folder.keep_baseline)
        result.baselines = make_baselines(finished, baselines, kept, keep, show.note)
        if folder is not None:
            result.folder = folder.finish(result)
        show.finished(result)
    return result


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
        recorder.on_resumed = lambda: checkpoint.restore(past, simulator)
    recorder.on_round.append(folder.append)
    with folder.writing():
        clients = list(task.data.clients)
        watch = recorder.watch = TreeWatch(folder, setting.job.tree, simulator, clients, setting.homes)
    simulator.began, simulator.traffic.mishaps.listener = watch.began, watch.counted

    def write(round_index: int) -> None:
        with folder.writing():
            checkpoint.write(folder.checkpoints, round_index, simulator)

    recorder.checkpoint = write

"""``fogline.simulate``: one call from a task to a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fogline.algorithms import Algorithm, make
from fogline.jobs import Evaluation, Job, JobError, Local, Method, Tree, check
from fogline.jobs.files.naming import TaskOrigin, method_of, origin_of
from fogline.jobs.files.reading import parse_job
from fogline.jobs.files.writing import job_to_toml
from fogline.jobs.loading import check_not_importing
from fogline.jobs.modules import class_name
from fogline.jobs.planning import with_defaults
from fogline.jobs.privacy import Privacy
from fogline.jobs.protection.budget import account_of, within_budget
from fogline.jobs.resuming import check_changes
from fogline.jobs.shares import Shares
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.progress import Progress
from fogline.monitoring.result import Result
from fogline.simulation.attacks import ATTACKS, Attack
from fogline.simulation.callbacks import OnRound
from fogline.simulation.run import run
from fogline.training.task import Task

FOUND = ("task", "task_parameters", "engine_compared", "engines_refused")
"""What a run finds out of itself: nobody asks for it."""


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
            "evaluation": _with_baselines(evaluation or {}, _several(baselines)),
            "queries": _several(queries),
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

    def begin(job: Job, kept: RunFolder | None = None) -> Result:
        return run(job, task, kept, algorithm=method, progress=progress, on_round=on_round)

    if folder is None:
        if resume:
            raise JobError('resume goes on with the run in a folder; name it too: folder="..."')
        return begin(job)
    kept = RunFolder(Path(folder))
    if resume and kept.info.exists():
        return _go_on(kept, _as_before(kept.read_job(), job, task, method), begin)
    with RunFolder.create(kept.path, job, origin) as kept:
        return begin(job, kept)


def _go_on(kept: RunFolder, job: Job, begin: Callable[[Job, RunFolder], Result]) -> Result:
    """Go on with the run of a folder, or give its result where nothing is to be done."""
    if kept.is_finished and job == kept.read_job():
        return kept.load()
    with RunFolder.reopen(kept.path, changed=True) as kept:
        return begin(job, kept)


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _with_baselines(
    evaluation: Evaluation | Mapping[str, Any], baselines: tuple[str, ...]
) -> Evaluation | Mapping[str, Any]:
    if not baselines:
        return evaluation
    more = {"baselines": baselines}
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

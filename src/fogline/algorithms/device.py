"""A cohort's local round: prepare, train, report. The same in simulation and on a real device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np

from fogline.aggregation import Update, bound
from fogline.algorithms import hooks
from fogline.algorithms.base import Algorithm
from fogline.algorithms.hooks import BUFFERS
from fogline.algorithms.phases import first_of_each_kind, names_of, train_in_phases
from fogline.algorithms.private import with_weights
from fogline.algorithms.sub_models import by_sub_model, engine_of, task_of
from fogline.params import State
from fogline.training.context import ROUND, DeviceContext, Draws
from fogline.training.local import ClientJob, LocalResult
from fogline.training.method import overrides
from fogline.training.plan import Plan
from fogline.training.sub_models import SubModel
from fogline.training.task import Engine, Task
from fogline.user_code.bugs import CodeError, attempt, reason_of


class LocalRound(msgspec.Struct, frozen=True, eq=False):
    """What a device's local round gave. After a failure there is no update, and its state is as before."""

    client: int
    update: Update | None
    local: State
    samples: int
    loss: float
    loss_rms: float
    failure: str | None = None


def run_cohort(engine: Engine, algorithm: Algorithm, task: Task, jobs: Sequence[ClientJob]) -> list[LocalRound]:
    """Train devices and form their updates, in the order of ``jobs``.

    Raises:
        CodeError: a hook of the method, or the code of the task, is wrong; it names the device.
    """
    together = by_sub_model(task, jobs)
    if set(together) <= {None}:
        return _run_alike(engine, algorithm, task, jobs)
    done = dict[int, LocalRound]()
    for sub_model, places in together.items():
        some = [jobs[place] for place in places]
        if sub_model is None:
            rounds = _run_alike(engine, algorithm, task, some)
        else:
            rounds = _run_smaller(sub_model, engine, algorithm, task, some)
        done |= zip(places, rounds, strict=True)
    return [done[place] for place in range(len(jobs))]


def _run_smaller(
    sub_model: SubModel, engine: Engine, algorithm: Algorithm, task: Task, jobs: Sequence[ClientJob]
) -> list[LocalRound]:
    """Devices that have a smaller model: what they send says which numbers of the whole one it is of."""
    own = engine_of(sub_model, engine, algorithm)
    rounds = _run_alike(own, algorithm, task_of(sub_model), sub_model.opened(jobs, task.home))
    for done in rounds:
        if done.update is not None:
            done.update.ranges = sub_model.ranges
            if not sub_model.tells_buffers:
                done.update.vectors.pop(BUFFERS, None)
                done.update.weights.pop(BUFFERS, None)
    return rounds


def _run_alike(engine: Engine, algorithm: Algorithm, task: Task, jobs: Sequence[ClientJob]) -> list[LocalRound]:
    """Devices that all have the same model."""
    whole = jobs if task.home is None else task.home.opened(jobs)
    prepared = [_prepared(algorithm, task, job) for job in whole] if _prepares(algorithm) else whole
    if overrides(algorithm, "phases"):
        return _in_phases(engine, algorithm, task, jobs, prepared)
    able = [_job_of(ready) for ready in prepared if not isinstance(ready, LocalRound)]
    moves = type(algorithm).report is Algorithm.report and not (task.home and task.home.part.private)
    try:
        trained = iter((engine.moved if moves else engine.train)(able) if able else ())
    except CodeError as error:
        error.at(names_of(task, able))
        raise
    report = partial(_report_movement, algorithm, task) if moves else partial(_report, algorithm, task)
    return [
        msgspec.structs.replace(ready, local=before.local)
        if isinstance(ready, LocalRound)
        else report(before, ready, next(trained))
        for before, ready in zip(jobs, prepared, strict=True)
    ]


def _in_phases(
    engine: Engine,
    algorithm: Algorithm,
    task: Task,
    jobs: Sequence[ClientJob],
    prepared: Sequence[ClientJob | _Ready | LocalRound],
) -> list[LocalRound]:
    """The same for a method that trains in phases: all devices make their first, then their second, and so on."""
    begun = [
        _Ready(ready, Draws(ready.seed, ready.common_seed, ROUND)) if isinstance(ready, ClientJob) else ready
        for ready in prepared
    ]
    able = [ready for ready in begun if isinstance(ready, _Ready)]
    trained = iter(train_in_phases(engine, algorithm, task, [r.job for r in able], [r.draws for r in able]))

    def done(before: ClientJob, ready: _Ready | LocalRound) -> LocalRound:
        if isinstance(ready, LocalRound):
            return msgspec.structs.replace(ready, local=before.local)
        result, kept = next(trained)
        return _report(algorithm, task, before, replace(ready, job=replace(ready.job, local=kept)), result)

    return [done(before, ready) for before, ready in zip(jobs, begun, strict=True)]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A device that may train, and its random numbers, with which its hooks have begun."""

    job: ClientJob
    draws: Draws


def _job_of(ready: ClientJob | _Ready) -> ClientJob:
    return ready.job if isinstance(ready, _Ready) else ready


def _prepares(algorithm: Algorithm) -> bool:
    return overrides(algorithm, "prepare") or overrides(algorithm, "begin")


def prepare(algorithm: Algorithm, task: Task, job: ClientJob) -> ClientJob | LocalRound:
    """The job as an engine takes it: for the whole model, with the device's state and start as the method wants them;
    or how it failed.

    Raises:
        CodeError: a hook, or the code that loads the device's data, is wrong.
    """
    whole = opened(task, job)
    if not _prepares(algorithm):
        return whole
    ready = _prepared(algorithm, task, whole)
    return ready if isinstance(ready, LocalRound) else _job_of(ready)


def tried(algorithm: Algorithm, task: Task, job: ClientJob) -> list[ClientJob]:
    """What engines are compared on: a device's job as an engine takes it, and of a method that trains in phases one
    of each kind. Of a device that fails, its plain job; the run will say why.

    Raises:
        CodeError: a hook, or the code that loads the device's data, is wrong.
    """
    ready = prepare(algorithm, task, job)
    if isinstance(ready, LocalRound):
        return [opened(task, job)]
    return first_of_each_kind(algorithm, task, ready) if overrides(algorithm, "phases") else [ready]


def opened(task: Task, job: ClientJob) -> ClientJob:
    """A job for the shared part as one for the whole model."""
    return job if task.home is None else task.home.opened([job])[0]


def _prepared(algorithm: Algorithm, task: Task, job: ClientJob) -> ClientJob | _Ready | LocalRound:
    def ready() -> _Ready:
        device = DeviceContext(task, job)
        if not overrides(algorithm, "prepare"):
            return _Ready(_begun(algorithm, task, device, job), device.draws)
        kept = replace(job, local=hooks.prepare(algorithm, device))
        if not overrides(algorithm, "begin"):
            return _Ready(kept, device.draws)
        return _Ready(_begun(algorithm, task, DeviceContext(task, kept, device.draws), kept), device.draws)

    done = attempt(ready)
    return _failed(task, job, done, 0) if isinstance(done, Exception) else done


def _begun(algorithm: Algorithm, task: Task, device: DeviceContext, job: ClientJob) -> ClientJob:
    """The job with the start that the method gives; buffers are the received model's, and private entries the device's
    own."""
    return replace(job, start=with_weights(task, job.start, hooks.begin(algorithm, device)), model=job.start)


def _report_movement(
    algorithm: Algorithm, task: Task, before: ClientJob, ready: ClientJob | _Ready, trained: LocalResult
) -> LocalRound:
    """What ``Algorithm.report`` gives, from what ``Engine.moved`` gave: one model less to write and to read."""
    if trained.failure is not None:
        return LocalRound(before.client, None, before.local, trained.samples, np.nan, np.nan, trained.failure)
    home, moved, counters, samples = task.home, trained.end, trained.counters, trained.samples
    if home is not None:
        _check_frozen(task, before, home.moved_frozen(moved))
        moved, counters = home.cut(moved), home.cut_counters(counters)
    trainable = task.shared.trainable
    head = moved if moved.size == trainable else moved[:trainable]
    # Looked at where it was made, while it is in the processor's cache: who folds it need not.
    top = bound(head) if trained.bound is None else trained.bound
    update = Update({"delta": head}, {"delta": float(samples)}, counters, bounds={"delta": top})
    if moved.size > trainable:
        update.vectors[BUFFERS], update.weights[BUFFERS] = moved[trainable:], float(samples)
    if trained.metrics:
        _enter_metrics(algorithm, update, trained)
    return LocalRound(before.client, update, _job_of(ready).local, samples, *_losses(task, trained))


def _report(
    algorithm: Algorithm, task: Task, before: ClientJob, ready: ClientJob | _Ready, trained: LocalResult
) -> LocalRound:
    if trained.failure is not None:
        return LocalRound(before.client, None, before.local, trained.samples, np.nan, np.nan, trained.failure)
    job, draws = _job_of(ready), ready.draws if isinstance(ready, _Ready) else None
    plan = Plan(trained.steps, trained.samples, job.learning_rate, job.batch_size)
    device = DeviceContext(task, job, draws, trained.end, plan)
    report = attempt(lambda: hooks.report(algorithm, device))
    if isinstance(report, Exception):
        return _failed(task, before, report, trained.samples)
    vectors = {name: term.vector for name, term in report.terms.items()}
    weights = {name: term.weight for name, term in report.terms.items()}
    home, end, start, counters, local = task.home, trained.end, job.start, trained.counters, report.local
    if home is not None:
        _check_frozen(task, before, home.moved_frozen(end, start))
        end, start, counters = home.cut(end), home.cut(start), home.cut_counters(counters)
        local = local | home.kept(trained)
    trainable = task.shared.trainable
    if end.size > trainable:
        vectors[BUFFERS] = end[trainable:] - start[trainable:]
        weights[BUFFERS] = float(trained.samples)
    update = Update(vectors, weights, counters)
    if trained.metrics:
        _enter_metrics(algorithm, update, trained)
    return LocalRound(job.client, update, local, trained.samples, *_losses(task, trained))


def _losses(task: Task, trained: LocalResult) -> tuple[float, float]:
    """What a device tells of its losses: there is no noise on them, so nothing where each example is protected."""
    return (np.nan, np.nan) if task.sealed else (trained.loss, trained.loss_rms)


def _check_frozen(task: Task, job: ClientJob, moved: str | None) -> None:
    """Refuse a model whose training changes what it says is frozen: no aggregator would hear of it."""
    if moved is not None:
        raise CodeError(
            f"training changes '{moved}', a parameter that wants no gradient and so is never averaged; make it a "
            "buffer (register_buffer), or let it train"
        ).at(names_of(task, [job]))


def _enter_metrics(algorithm: Algorithm, update: Update, trained: LocalResult) -> None:
    """What the method's own local round says of itself goes up beside what it reports."""
    for name, term in hooks.metric_terms(algorithm, "local_round", trained.metrics, float(trained.samples)).items():
        update.vectors[name], update.weights[name] = term.vector, term.weight


def _failed(task: Task, job: ClientJob, error: Exception, samples: int) -> LocalRound:
    reason = reason_of(error, names_of(task, [job]))
    return LocalRound(job.client, None, job.local, samples, np.nan, np.nan, reason)

"""A cohort's local round: prepare, train, report. The same in simulation and on a real device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np

from fogline.aggregation import Update, bound
from fogline.algorithms import hooks
from fogline.algorithms.base import Algorithm
from fogline.algorithms.hooks import BUFFERS
from fogline.params import State
from fogline.training.bugs import CodeError, attempt, reason_of
from fogline.training.local import ClientJob, LocalResult
from fogline.training.method import LocalWork, overrides
from fogline.training.task import Engine, Task


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
    prepared = [prepare(algorithm, task, job) for job in jobs] if overrides(algorithm, "prepare") else jobs
    able = [job for job in prepared if isinstance(job, ClientJob)]
    moves = type(algorithm).report is Algorithm.report
    try:
        trained = iter((engine.moved if moves else engine.train)(able) if able else ())
    except CodeError as error:
        error.at(_names(task, able))
        raise
    report = partial(_report_movement, task.spec.trainable) if moves else partial(_report, algorithm, task)
    return [
        report(before, job, next(trained)) if isinstance(job, ClientJob) else job
        for before, job in zip(jobs, prepared, strict=True)
    ]


def prepare(algorithm: Algorithm, task: Task, job: ClientJob) -> ClientJob | LocalRound:
    """The job with the device's state as the method wants it before training; or how the device failed.

    Raises:
        CodeError: the hook, or the code that loads the device's data, is wrong.
    """
    if not overrides(algorithm, "prepare"):
        return job

    def work() -> ClientJob:
        start, targets = job.start[: task.spec.trainable], task.data.at(job.client).y
        return replace(job, local=hooks.prepare(algorithm, start, job.local, job.received, targets))

    done = attempt(work)
    return _failed(task, job, done, 0) if isinstance(done, Exception) else done


def _report_movement(trainable: int, before: ClientJob, job: ClientJob, trained: LocalResult) -> LocalRound:
    """What ``Algorithm.report`` gives, from what ``Engine.moved`` gave: one model less to write and to read."""
    if trained.failure is not None:
        return LocalRound(job.client, None, before.local, trained.samples, np.nan, np.nan, trained.failure)
    moved, samples = trained.end, trained.samples
    head = moved if moved.size == trainable else moved[:trainable]
    # Looked at where it was made, while it is in the processor's cache: who folds it need not.
    top = bound(head) if trained.bound is None else trained.bound
    update = Update({"delta": head}, {"delta": float(samples)}, trained.counters, bounds={"delta": top})
    if moved.size > trainable:
        update.vectors[BUFFERS], update.weights[BUFFERS] = moved[trainable:], float(samples)
    return LocalRound(job.client, update, job.local, samples, trained.loss, trained.loss_rms)


def _report(algorithm: Algorithm, task: Task, before: ClientJob, job: ClientJob, trained: LocalResult) -> LocalRound:
    if trained.failure is not None:
        return LocalRound(job.client, None, before.local, trained.samples, np.nan, np.nan, trained.failure)
    trainable = task.spec.trainable
    start, end = job.start[:trainable], trained.end[:trainable]
    work = LocalWork(trained.samples, trained.steps, job.learning_rate, trainable)
    report = attempt(lambda: hooks.report(algorithm, start, end, job.local, job.received, work))
    if isinstance(report, Exception):
        return _failed(task, before, report, trained.samples)
    vectors = {name: term.vector for name, term in report.terms.items()}
    weights = {name: term.weight for name, term in report.terms.items()}
    if trained.end.size > trainable:
        vectors[BUFFERS] = trained.end[trainable:] - job.start[trainable:]
        weights[BUFFERS] = float(trained.samples)
    update = Update(vectors, weights, trained.counters)
    return LocalRound(job.client, update, report.local, trained.samples, trained.loss, trained.loss_rms)


def _failed(task: Task, job: ClientJob, error: Exception, samples: int) -> LocalRound:
    reason = reason_of(error, _names(task, [job]))
    return LocalRound(job.client, None, job.local, samples, np.nan, np.nan, reason)


def _names(task: Task, jobs: Sequence[ClientJob]) -> str:
    """Who it was, to stand before a sentence."""
    names = [f"'{task.data.clients[job.client]}'" for job in jobs[:3]]
    if len(jobs) == 1:
        return f"Client {names[0]}"
    more = f" and {len(jobs) - len(names)} more" if len(jobs) > len(names) else ""
    return f"One of the clients {', '.join(names)}{more}"

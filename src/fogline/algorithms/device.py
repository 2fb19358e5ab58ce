"""A cohort's local round: prepare, train, report. The same in simulation and on a real device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fogline.aggregation import Update, bound
from fogline.algorithms.base import Algorithm
from fogline.algorithms.group import BUFFERS
from fogline.params import State
from fogline.training.local import ClientJob, Trained
from fogline.training.method import Work, overrides
from fogline.training.task import Engine, Task


@dataclass(frozen=True, slots=True)
class LocalRound:
    """What a device's local round gave. After a failure there is no update, and its state is as before."""

    client: int
    update: Update | None
    local: State
    samples: int
    loss: float
    loss_rms: float
    failure: str | None = None


def run_cohort(engine: Engine, algorithm: Algorithm, task: Task, jobs: Sequence[ClientJob]) -> list[LocalRound]:
    """Train devices and form their updates, in the order of ``jobs``."""
    prepared = [prepare(algorithm, task, job) for job in jobs] if overrides(algorithm, "prepare") else jobs
    report = _report if type(algorithm).report is not Algorithm.report else _report_movement
    trainable = task.spec.trainable
    return [
        report(algorithm, trainable, before, job, trained)
        for before, job, trained in zip(jobs, prepared, engine.train(prepared), strict=True)
    ]


def prepare(algorithm: Algorithm, task: Task, job: ClientJob) -> ClientJob:
    """The job with the device's state as the method wants it before training."""
    if not overrides(algorithm, "prepare"):
        return job
    targets = task.data.at(job.client).y
    local = algorithm.prepare(job.start[: task.spec.trainable], job.local, job.received, targets)
    return replace(job, local=local)


def _report_movement(
    algorithm: Algorithm, trainable: int, before: ClientJob, job: ClientJob, trained: Trained
) -> LocalRound:
    """What ``Algorithm.report`` gives, in the memory of the trained model: one model less to write and to read."""
    if trained.failure is not None:
        return LocalRound(job.client, None, before.local, trained.samples, np.nan, np.nan, trained.failure)
    moved = np.subtract(trained.end, job.start, out=trained.end)
    samples = trained.samples
    head = moved if moved.size == trainable else moved[:trainable]
    # Looked at here, while it is in the processor's cache: who folds it need not.
    update = Update({"delta": head}, {"delta": float(samples)}, trained.counters, bounds={"delta": bound(head)})
    if moved.size > trainable:
        update.vectors[BUFFERS], update.weights[BUFFERS] = moved[trainable:], float(samples)
    return LocalRound(job.client, update, job.local, samples, trained.loss, trained.loss_rms)


def _report(algorithm: Algorithm, trainable: int, before: ClientJob, job: ClientJob, trained: Trained) -> LocalRound:
    if trained.failure is not None:
        return LocalRound(job.client, None, before.local, trained.samples, np.nan, np.nan, trained.failure)
    work = Work(trained.samples, trained.steps, job.learning_rate, trainable)
    report = algorithm.report(job.start[:trainable], trained.end[:trainable], job.local, job.received, work)
    vectors = {name: term.vector for name, term in report.terms.items()}
    weights = {name: term.weight for name, term in report.terms.items()}
    if trained.end.size > trainable:
        vectors[BUFFERS] = trained.end[trainable:] - job.start[trainable:]
        weights[BUFFERS] = float(trained.samples)
    update = Update(vectors, weights, trained.counters)
    return LocalRound(job.client, update, report.local, trained.samples, trained.loss, trained.loss_rms)

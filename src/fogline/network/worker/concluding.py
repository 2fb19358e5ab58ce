"""The end of a job: its result."""

from __future__ import annotations

from pathlib import Path

from fogline.aggregation.tally import SurveySums
from fogline.compute.surveys.survey import judgement_of
from fogline.jobs import Job
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.history import TargetMetric, reached
from fogline.monitoring.result import Result
from fogline.network.worker.requests import Conclude, Evaluated
from fogline.params import Params
from fogline.training.task import Task


def conclude(
    request: Conclude, job: Job, task: Task, params: Params, metrics: dict[str, float], sums: SurveySums | None
) -> Evaluated:
    """The result of a finished run: the same folder that a simulation leaves.

    Args:
        request: what the cloud knows of the run.
        job: what was done.
        task: what was learned.
        params: the model.
        metrics: of it on the test set.
        sums: what devices found of it, by name; None: nothing.
    """
    folder, found = RunFolder(Path(request.folder)), None
    history = folder.history()
    if sums is not None:
        found = judgement_of(task, sums)
        metrics = metrics if job.evaluation.at_cloud else found.metrics
    folder.finish(
        Result(
            job=job,
            headline=task.headline,
            params=params,
            history=history,
            metrics=metrics,
            fogs=None if found is None else found.fogs,
            devices=None if found is None else found.devices,
            common=None if found is None else found.common,
            held_out={} if found is None else found.new,
            reached=reached(history, job.evaluation, TargetMetric(task.headline, task.higher_is_better)),
            counts=request.counts,
            reasons=request.reasons,
            wall=request.wall,
            units=dict(task.units),
            queries=request.queries,
            higher_is_better=task.higher_is_better,
            cut_off=request.cut_off,
            lost_rounds=request.lost_rounds,
        )
    )
    return Evaluated(metrics)

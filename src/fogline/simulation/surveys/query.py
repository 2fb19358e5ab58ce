"""``fogline.query``: a question to simulated devices, without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fogline.algorithms.group import Down
from fogline.compute.surveys.queries import figures
from fogline.compute.surveys.survey import Question
from fogline.errors import FoglineError
from fogline.jobs import JobError, Tree, check
from fogline.simulation.executors.base import Bench
from fogline.simulation.executors.inline import InlineExecutor
from fogline.simulation.fleet.counters import Traffic
from fogline.simulation.fleet.scenario import Sizes
from fogline.simulation.setup import setting_of
from fogline.simulation.surveys.survey import Surveys
from fogline.training.task import Task


class UnansweredQueryError(FoglineError, RuntimeError):
    """Too few devices answered; the text says why."""


def query(
    task: Task,
    question: str,
    tree: Tree | None = None,
    *,
    devices: str | Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Ask all devices of a task a question about their examples; only sums leave a device.

    Args:
        task: model and federated data.
        question: a query with its parameters: ``"label_counts"``, ``"histogram(low=0, high=1)"``; docs/evaluation.md
            lists them.
        tree: tiers of aggregators; quorum, deadline and ``minimum`` hold as in a round. None: one cloud.
        devices: profile of the devices: a preset's name, or fields.
        seed: decides who drops out.

    Returns:
        The sums by name, and, of ``moments``, the mean and the standard deviation.

    Raises:
        JobError: there is no such query, or a setting is impossible.
        UnansweredQueryError: too few devices answered.
        CodeError: the query's code, or that of the task, is wrong.
    """
    profile = {"preset": devices} if isinstance(devices, str) else devices or {}
    job = check({"tree": tree or Tree(), "devices": profile, "seed": seed, "queries": (question,), "rounds": 1})
    try:
        setting = setting_of(job, task)
    except ValueError as error:
        raise JobError(str(error)) from error
    size, traffic = task.spec.bytes, Traffic()
    bench = Bench(task, setting.algorithm, lambda: task.build("loop", setting.algorithm, setting.local), 1, job)
    with InlineExecutor(bench, 0) as here:
        surveys = Surveys(setting, Sizes(size, size, size), traffic, here)
        nothing = Down(np.zeros(0, np.float32), np.zeros(0, np.int64))
        tally = surveys.ask(Question("query", 0, question), nothing, 0.0)
    if tally is None:
        why = "; ".join(f"{what}: {reason}" for what, reason in traffic.mishaps.reasons.items())
        raise UnansweredQueryError(f"Too few devices answered '{question}' ({why or 'none could be asked'}).")
    return figures(question, tally.sums)

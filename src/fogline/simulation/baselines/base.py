"""What every baseline has at hand: the run that it is compared with, and plain training on the same engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fogline.algorithms import FedAvg
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import BUFFERS
from fogline.monitoring.record import Baseline, Row
from fogline.params import Params
from fogline.plugins import Registry
from fogline.simulation.executors import EXECUTORS, Bench, Executor
from fogline.simulation.setup import Setting
from fogline.training.task import Task

BaselineTraining = Callable[["FinishedRun"], Baseline]
BASELINES = Registry[BaselineTraining]("baseline", "fogline.simulation.baselines", first="pooled")
"""All baselines: one file each, beside this one."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has come to its end."""

    setting: Setting
    executor: Executor
    """The run's own: it judges models."""
    history: Sequence[Row]

    @property
    def steps(self) -> list[int]:
        """Gradient steps that devices made in each round, in trainings that succeeded."""
        return [int(row["steps"]) for row in self.history]

    def trainer(self, task: Task, together: bool) -> Executor:
        """What trains plainly, without the method's hooks, on the run's engine; or on the reference, where that engine
        does not take it.

        Args:
            task: the run's, or a twin of it on other data.
            together: whether several models are trained at once.
        """
        job, local, plain, task = self.setting.job, self.setting.local, FedAvg(), task.with_home(None)
        kinds = task.engines()
        fits = job.engine is not None and kinds[job.engine].refuses(task, plain, local) is None
        engine = job.engine if job.engine is not None and fits else next(iter(kinds))
        bench = Bench(task, plain, lambda: task.build(engine, plain, local), job.chunk or 1)
        if together:
            return type(self.executor)(bench, self.executor.processes)
        return EXECUTORS["inline"](bench, 0)

    def judged(self, params: Params) -> dict[str, float]:
        """Metrics of a model on the test set; none if there is no test set."""
        task = self.setting.task
        return {} if task.data.test is None else task.metrics(self.executor.evaluate(params, [None])[0].sums)

    def judged_on_held_out(self, params: Params) -> dict[str, float]:
        """The same on the devices that never trained, those left out on whose data it cannot be judged."""
        task, total = self.setting.task, dict[str, float]()
        for one in self.executor.evaluate(params, task.data.held_out):
            for name, value in {} if one.why else one.sums.items():
                total[name] = total.get(name, 0.0) + value
        return task.metrics(total) if total else {}


def moved(start: Params, done: LocalRound) -> Params:
    """A model after a device's local round that did not fail."""
    assert done.update is not None
    vectors, vector = done.update.vectors, start.vector.copy()
    trainable = start.spec.trainable
    vector[:trainable] += vectors["delta"]
    if BUFFERS in vectors:
        vector[trainable:] += vectors[BUFFERS]
    return replace(start, vector=vector, counters=np.array(done.update.counters))

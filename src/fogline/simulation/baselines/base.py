"""What every baseline has at hand: the run that it is compared with, and plain training on the same engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from fogline.training.figures import metrics_of
from fogline.training.task import Sums, Task

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
        fits = job.engine is not None and kinds[job.engine].refusal(task, plain, local) is None
        engine = job.engine if job.engine is not None and fits else next(iter(kinds))
        bench = Bench(task, plain, lambda: task.build(engine, plain, local), job.chunk or 1)
        if together:
            return type(self.executor)(bench, self.executor.processes)
        return EXECUTORS["inline"](bench, 0)

    def judged(self, params: Params) -> dict[str, float]:
        """Metrics of a model on what the run's is judged on: the test set, or, where devices alone judge, what all of
        them hold out; none if there is no such thing."""
        data = self.setting.task.data
        if not self.setting.job.evaluation.at_cloud:
            return self._on(params, [*data.clients, *data.held_out])
        return {} if data.test is None else self._on(params, [None])

    def judged_on_held_out(self, params: Params) -> dict[str, float]:
        """The same on the devices that never trained."""
        return self._on(params, self.setting.task.data.held_out)

    def judged_on_own(self, params: Params, client: str) -> Sums:
        """Sums of a device's model over what the device holds out; none if there is nothing to judge it on."""
        (found,) = self.executor.evaluate(params, [client])
        return {} if found.why else found.sums

    def _on(self, params: Params, clients: Sequence[str | None]) -> dict[str, float]:
        """Metrics over all that these have, those left out on whose data it cannot be judged."""
        found = [one.sums for one in self.executor.evaluate(params, clients) if not one.why]
        return metrics_of(self.setting.task, summed(found)) if found else {}


def summed(several: Iterable[Sums]) -> Sums:
    """Sums added up, name by name."""
    total: Sums = {}
    for sums in several:
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value
    return total


def moved(start: Params, done: LocalRound) -> Params:
    """A model after a device's local round that did not fail."""
    assert done.update is not None
    vectors, vector = done.update.vectors, start.vector.copy()
    trainable = start.spec.trainable
    vector[:trainable] += vectors["delta"]
    if BUFFERS in vectors:
        vector[trainable:] += vectors[BUFFERS]
    return replace(start, vector=vector, counters=np.array(done.update.counters))

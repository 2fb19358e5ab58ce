"""The baseline below: every device by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fogline.algorithms import FedAvg
from fogline.jobs.planning import planner
from fogline.monitoring.record import Baseline, Spread
from fogline.params import Params
from fogline.simulation.baselines.base import BASELINES, FinishedRun, moved, summed
from fogline.simulation.executors import Executor
from fogline.training.figures import metrics_of
from fogline.training.local import ClientJob
from fogline.training.task import Sums, Task

MOST_DEVICES = 2000
"""Devices that train by themselves; of more, every k-th."""
GROUP_BYTES = 256 << 20
"""Models that are trained together take about so much."""


@BASELINES.add("alone")
def alone(run: FinishedRun) -> Baseline:
    """A model of its own for each device, trained on that device's data only: what federation gains.

    The run's gradient steps are shared out between all devices in proportion to what each makes in a whole local round.
    A device makes its share in local rounds, as many steps each as in the run, spread over the run's learning rates. Of
    more than 2,000 devices every k-th is trained.
    """
    work = _Work(run)
    count = max(1, GROUP_BYTES // run.setting.task.spec.bytes)
    with run.trainer(run.setting.task, together=True) as trainer:
        for first in range(0, len(work.devices), count):
            work.judge(work.train(trainer, work.devices[first : first + count]))
    return work.baseline()


@dataclass(slots=True)
class _Work:
    """Devices' shares of the work, and what came of it so far."""

    run: FinishedRun
    devices: list[int] = field(init=False)
    whole: list[int] = field(init=False)
    """Steps of each client's whole local round."""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    held_out: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    own: dict[str, Sums] = field(default_factory=dict[str, Sums])
    failures: dict[int, str] = field(default_factory=dict[int, str])
    steps: int = 0

    def __post_init__(self) -> None:
        sizes = self._task.data.sizes().tolist()
        self.whole = [self.run.setting.local.step_count(size) for size in sizes]
        self.devices = list(range(0, len(sizes), -(-len(sizes) // MOST_DEVICES)))

    @property
    def _task(self) -> Task:
        return self.run.setting.task

    def share(self, client: int) -> int:
        """Gradient steps that fall to a device: one at least."""
        return max(1, round(sum(self.run.steps) * self.whole[client] / sum(self.whole)))

    def train(self, trainer: Executor, clients: Sequence[int]) -> dict[int, Params]:
        """Models of these devices, by client; those that failed are left out."""
        setting, rounds = self.run.setting, len(self.run.steps)
        plan = planner(setting.job, self._task.data, FedAvg())
        models = dict.fromkeys(clients, setting.initial)
        left = {client: self.share(client) for client in clients}
        local_rounds = {client: -(-left[client] // self.whole[client]) for client in clients}
        for turn in range(max(local_rounds.values())):
            jobs: list[ClientJob] = []
            for client in models:
                if turn >= local_rounds[client]:
                    continue
                planned = plan(client, turn * rounds // local_rounds[client], turn)
                steps, start = min(left[client], self.whole[client]), models[client]
                left[client] -= steps
                jobs.append(ClientJob(client, start.vector, start.counters, steps, planned.learning_rate, planned.seed))
            for job, done in zip(jobs, trainer.run(jobs), strict=True):
                if done.failure is None:
                    models[job.client] = moved(models[job.client], done)
                    self.steps += job.steps
                else:
                    del models[job.client]
                    self.failures[job.client] = done.failure
        return models

    def judge(self, models: dict[int, Params]) -> None:
        """Judge each device's model on what no device has trained on; where devices judge, on what its own has not."""
        evaluation = self.run.setting.job.evaluation
        for client, model in models.items():
            name = self._task.data.clients[client]
            if evaluation.at_cloud and (metrics := self.run.judged(model)):
                self.metrics[name] = metrics
            if evaluation.on_devices and (sums := self.run.judged_on_own(model, name)):
                self.own[name] = sums
            if held_out := self.run.judged_on_held_out(model):
                self.held_out[name] = held_out

    def baseline(self) -> Baseline:
        """What came of it."""
        task, at_cloud = self._task, self.run.setting.job.evaluation.at_cloud
        own = {name: metrics_of(task, sums) for name, sums in self.own.items()}
        together = metrics_of(task, summed(self.own.values())) if own else {}
        return Baseline(
            "alone",
            self.steps,
            len(self.run.steps),
            _means(self.metrics) if at_cloud else together,
            held_out=_means(self.held_out),
            models=self._spread(self.metrics or ({} if own else self.held_out)),
            devices=self._spread(own),
            failures=len(self.failures),
            reason=next(iter(self.failures.values()), ""),
        )

    def _spread(self, metrics: dict[str, dict[str, float]]) -> Spread | None:
        headline = {name: found[self._task.headline] for name, found in metrics.items()}
        return Spread.of(headline, self._task.higher_is_better) if headline else None


def _means(metrics: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means over devices, by metric."""
    rows = list(metrics.values())
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}

"""The engine of the Flower backend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fogline.params import Params
from fogline.randomness import seeded
from fogline.training.flwr.task import ENGINES, FlowerTask
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import STEP_HOOKS, LocalMethod, overrides
from fogline.training.task import Engine, Task
from fogline.user_code.bugs import attempt, reason_of

UNSEEN = ("work", *STEP_HOOKS, "phases", "local_round")
"""Hooks that see, or say, what happens between the beginning and the end of a device's training."""


@ENGINES.add("loop", "The client's own code, one device after the other.")
class FlowerLoop(Engine):
    """Asks one client after the other to train, under the seed of its round.

    How many steps it makes, and at which rate, is not known here. So ``LocalResult.loss`` is NaN; what the client tells
    stands in the history as its metrics.
    """

    def __init__(self, task: FlowerTask, method: LocalMethod, local: LocalTraining) -> None:
        self.task = task
        self.method = method
        self.local = local

    @classmethod
    def refuses(cls, task: Task, method: LocalMethod, local: LocalTraining) -> str | None:
        """Why this engine cannot train so: what a client does out of sight."""
        if not isinstance(task, FlowerTask):
            return f"it asks Flower clients, and this is a {type(task).__name__}."
        for hook in UNSEEN:
            if overrides(method, hook):
                return f"the method overrides {hook}, and a Flower client trains by its own code, out of sight."
        return None

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        """Train one device after the other."""
        return [self._train_safely(job) for job in jobs]

    def _train_safely(self, job: ClientJob) -> LocalResult:
        with seeded(job.seed):
            result = attempt(lambda: self._train(job))
        if isinstance(result, LocalResult):
            return result
        reason = reason_of(result, f"Client '{self.task.data.clients[job.client]}'")
        return LocalResult(job.client, job.start, job.counters, 0, 0, np.nan, np.nan, reason)

    def _train(self, job: ClientJob) -> LocalResult:
        task = self.task
        if job.steps != 1:
            raise ValueError(f"it is asked for {job.steps} rounds' work at once, and trains as its own code says")
        received = Params(task.spec, job.start, job.counters)
        model, said = task.trained(task.data.at(job.client), received, job.round)
        if said.examples < 1 or said.examples != round(said.examples):
            raise ValueError(f"it has trained on {said.examples:g} examples; its weight must be a whole number above 0")
        if not np.isfinite(model.vector).all():
            raise ValueError("weights are not finite after training")
        weight = round(said.examples)
        return LocalResult(job.client, model.vector, model.counters, weight, 1, np.nan, np.nan, metrics=said.metrics)

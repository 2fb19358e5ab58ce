"""The engine of the scikit-learn backend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fogline.params import Vector
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import LocalMethod, overrides
from fogline.training.shuffling import batches
from fogline.training.sklearn.task import ENGINES, SklearnTask
from fogline.training.task import Engine, Task
from fogline.user_code.bugs import CodeError, HookNumbersError, attempt, reason_of


@ENGINES.add("loop", "partial_fit on one minibatch after the other, one device after the other.")
class SklearnLoop(Engine):
    """``partial_fit`` on one minibatch after the other, one device after the other.

    scikit-learn steps once per example, not once per minibatch. ``Trained.steps`` counts those steps, so that
    methods which divide by steps times rate stay right. An affine adjustment is applied after each minibatch, as
    often as examples were in it: for a constant adjustment (control variates) that is what adjusting every step
    gives; a pull to the start (proximal) is split from the loss, which differs by terms of the second order
    in rate times batch.
    """

    def __init__(self, task: SklearnTask, method: LocalMethod, local: LocalTraining) -> None:
        self.task = task
        self.method = method
        self.local = local

    @classmethod
    def refuses(cls, task: Task, method: LocalMethod, local: LocalTraining) -> str | None:
        """Why this engine cannot train so: what ``partial_fit`` cannot do."""
        if not isinstance(task, SklearnTask):
            return f"it trains scikit-learn models, and this is a {type(task).__name__}."
        for hook in ("perturb", "adjust_outputs", "adjust_loss", "step_models", "local_round"):
            if overrides(method, hook):
                return f"the method overrides {hook}, and scikit-learn takes its gradients out of sight."
        if overrides(method, "adjust_gradient") and not method.affine:
            return "the method adjusts the gradient in a way that is not affine, and scikit-learn hides gradients."
        if local.optimizer != "sgd" or local.momentum:
            return "scikit-learn's linear models learn by plain SGD only, without momentum."
        if local.clip_norm is not None:
            return "scikit-learn's linear models do not clip gradients; leave clip_norm out."
        if local.weight_decay:
            return "the penalty belongs to the estimator (alpha=...); leave weight_decay out."
        return None

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        """Train one device after the other."""
        return [self._train_safely(job) for job in jobs]

    def _train_safely(self, job: ClientJob) -> LocalResult:
        examples = attempt(lambda: self.task.data.at(job.client))
        if isinstance(examples, Exception):
            reason = reason_of(examples, self._name(job))
            return LocalResult(job.client, job.start, job.counters, 0, 0, np.nan, np.nan, reason)
        try:
            if not len(examples.y):
                raise ValueError("it has no examples")
            return self._train(job)
        except (
            ValueError,
            FloatingPointError,
            HookNumbersError,
        ) as error:  # What it raises on numbers or labels.
            lines = str(error).strip().splitlines()
            sentence = f"{self._name(job)}: {lines[0].rstrip('.')}."
            return LocalResult(job.client, job.start, job.counters, len(examples.y), 0, np.nan, np.nan, sentence)
        except CodeError as error:
            error.at(self._name(job))
            raise

    def _name(self, job: ClientJob) -> str:
        return f"Client '{self.task.data.clients[job.client]}'"

    def _train(self, job: ClientJob) -> LocalResult:
        task, examples = self.task, self.task.data.at(job.client)
        if job.only is not None and job.only != frozenset(task.spec.trained_names):
            raise ValueError("the method trains part of the model, and scikit-learn's linear models train whole")
        x, y = task.inputs(examples.array), task.truth(examples.y)
        estimator = task.fresh(job.learning_rate, job.seed & 0x7FFFFFFF)
        task.load(estimator, job.start)
        losses: list[float] = []
        seen = 0
        for batch in batches(job.seed, len(y), job.batch_size or self.local.batch_size, job.steps):
            losses.append(float(task.losses(estimator, x[batch], y[batch]).mean()))
            task.learn(estimator, x[batch], y[batch])
            seen += len(batch)
            if overrides(self.method, "adjust_gradient"):
                weights = task.read(estimator)
                task.load(estimator, weights - job.learning_rate * len(batch) * self._adjustment(weights, job))
        end = task.read(estimator)
        if not (np.isfinite(end).all() and np.isfinite(losses).all()):
            raise ValueError("weights or losses are not finite after training")
        rms = float(np.sqrt(np.square(losses).mean()))
        return LocalResult(job.client, end, job.counters, len(y), seen, float(np.mean(losses)), rms)

    def _adjustment(self, weights: Vector, job: ClientJob) -> Vector:
        """a * weights + b."""
        return self.method.adjust_gradient(np.zeros_like(weights), weights, job.start, job.local, job.received)

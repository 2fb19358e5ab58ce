"""A task small enough to run thousands of local rounds in a test: softmax regression in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from fogline.data import Examples, FederatedData, from_arrays
from fogline.params import Entry, Params, Spec
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import LocalMethod
from fogline.training.metrics import CLASS_SUMS
from fogline.training.task import Engine, Sums, Task

CLASSES, FEATURES = 3, 4


def toy_data(clients: int = 12, size: int = 20, seed: int = 0) -> FederatedData:
    """Three Gaussian clouds, each client with mostly one of them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(CLASSES, FEATURES)) * 2
    y = np.concatenate([rng.choice(CLASSES, size, p=_skew(i % CLASSES)) for i in range(clients)])
    x = (centres[y] + rng.normal(size=(y.size, FEATURES))).astype(np.float32)
    parts = np.split(np.arange(y.size), clients)
    test_y = rng.integers(CLASSES, size=300)
    test_x = (centres[test_y] + rng.normal(size=(300, FEATURES))).astype(np.float32)
    return from_arrays("toy", x, y, parts, test=Examples(test_x, test_y), classes=CLASSES)


def _skew(favourite: int) -> list[float]:
    return [0.8 if c == favourite else 0.1 for c in range(CLASSES)]


class ToyTask(Task):
    """Weights (classes, features), a buffer (the mean input) and a counter (steps ever made)."""

    name = "toy"
    headline = "accuracy"
    higher_is_better = True

    def __init__(self, data: FederatedData | None = None) -> None:
        self.data = data or toy_data()

    @property
    def spec(self) -> Spec:
        return SPEC

    def initial(self, seed: int) -> Params:
        params = Params.zeros(SPEC)
        params.vector[: SPEC.trainable] = np.random.default_rng(seed).normal(size=SPEC.trainable) * 0.01
        return params

    def engines(self) -> Mapping[str, type[Engine]]:
        return {"loop": ToyEngine}

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        weights = params.view("weights")
        logits = examples.x @ weights.T
        right = logits.argmax(1) == examples.y
        loss = -np.log(_softmax(logits)[np.arange(len(examples.y)), examples.y]).sum()
        return {"count": float(len(examples.y)), "correct": float(right.sum()), "loss": float(loss)}

    @property
    def sum_names(self) -> tuple[str, ...]:
        return CLASS_SUMS

    def metrics(self, sums: Sums) -> dict[str, float]:
        return {"accuracy": sums["correct"] / sums["count"], "loss": sums["loss"] / sums["count"]}


SPEC = Spec.of(
    [
        Entry("weights", (CLASSES, FEATURES), "float32"),
        Entry("mean", (FEATURES,), "float32", role="buffer"),
        Entry("steps", (), "int64", role="buffer"),
    ]
)


class ToyEngine(Engine):
    """Minibatch gradient descent with the gradient hook."""

    name: ClassVar[str] = "loop"
    summary: ClassVar[str] = "numpy"

    def __init__(self, task: Task, method: LocalMethod, local: LocalTraining) -> None:
        self.task, self.method = task, method

    @classmethod
    def refuses(cls, task: Task, method: LocalMethod, local: LocalTraining) -> str | None:
        return None

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        return [self._train(job) for job in jobs]

    def _train(self, job: ClientJob) -> LocalResult:
        examples = self.task.data.at(job.client)
        x, y = examples.array, examples.y
        rng = np.random.default_rng(job.seed)
        p = SPEC.trainable
        start = job.start[:p]
        w, moves = start.copy(), np.full(p, job.only is None)
        for name in job.only or ():
            moves[self.task.spec.slices[name]] = True
        losses: list[float] = []
        for _ in range(job.steps):
            batch = rng.integers(len(y), size=min(10, len(y)))
            probs = _softmax(x[batch] @ w.reshape(CLASSES, FEATURES).T)
            losses.append(float(-np.log(probs[np.arange(len(batch)), y[batch]]).mean()))
            probs[np.arange(len(batch)), y[batch]] -= 1
            gradient = (probs.T @ x[batch] / len(batch)).ravel().astype(np.float32)
            gradient = self.method.adjust_gradient(gradient, w, start, job.local, job.received)
            w = w - np.float32(job.learning_rate) * gradient * moves
        end = np.concatenate([w, x.mean(0)]).astype(np.float32)
        failure = None if np.isfinite(end).all() else f"client {job.client}: its weights are not finite"
        rms = float(np.sqrt(np.mean(np.square(losses))))
        return LocalResult(
            job.client, end, job.counters + job.steps, len(y), job.steps, float(np.mean(losses)), rms, failure
        )


def _softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


class SplitToy(ToyTask):
    """The same, its weights in two entries: the classes of the body, and one of the head."""

    @property
    def spec(self) -> Spec:
        return SPLIT

    def initial(self, seed: int) -> Params:
        return Params(SPLIT, super().initial(seed).vector, np.zeros(1, np.int64))

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        return super().evaluate(Params(SPEC, params.vector, params.counters), examples)

    @property
    def sum_names(self) -> tuple[str, ...]:
        return CLASS_SUMS


SPLIT = Spec.of(
    [
        Entry("body", (CLASSES - 1, FEATURES), "float32"),
        Entry("head", (1, FEATURES), "float32"),
        Entry("mean", (FEATURES,), "float32", role="buffer"),
        Entry("steps", (), "int64", role="buffer"),
    ]
)

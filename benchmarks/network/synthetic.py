"""The task of the network's benchmarks: a model of so many numbers, and local training that costs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.data import Examples, FederatedData, from_clients
from fogline.params import Entry, Params, Spec
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import LocalMethod
from fogline.training.task import Engine, Sums, Task


def step(client: int, size: int) -> npt.NDArray[np.float32]:
    """How far a client moves the model, every time: numbers that no compression shrinks."""
    return np.random.default_rng(client).random(size, np.float32) * np.float32(0.001)


class Nothing(Engine):
    """Moves every number, for nothing."""

    name = "loop"
    summary = "moves every number, for nothing"

    def __init__(self, task: Task, method: LocalMethod, local: LocalTraining) -> None:
        pass

    @classmethod
    def refuses(cls, task: Task, method: LocalMethod, local: LocalTraining) -> str | None:
        return None

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        return [
            LocalResult(j.client, j.start + step(j.client, j.start.size), j.counters, 10, j.steps, 1.0, 1.0)
            for j in jobs
        ]


class Numbers(Task):
    """A model of ``size`` float32 numbers."""

    def __init__(self, data: FederatedData, size: int) -> None:
        super().__init__("numbers", data, classifies=False, headline="rmse", higher_is_better=None)
        self._spec = Spec.of([Entry("numbers", (size,), "float32")])

    @property
    def spec(self) -> Spec:
        return self._spec

    def initial(self, seed: int) -> Params:
        return Params.zeros(self.spec)

    def engines(self) -> Mapping[str, type[Engine]]:
        return {"loop": Nothing}

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        return {"count": 1.0, "loss": 0.0, "squared_error": 0.0, "absolute_error": 0.0}


def task(size: int = 1, clients: int = 2) -> Numbers:
    """For a job file."""
    one: Any = Examples(np.zeros((10, 1), np.float32), np.zeros(10, np.float32))
    return Numbers(from_clients("nothing", {f"dev-{i}": one for i in range(clients)}), size)

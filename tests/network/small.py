"""The task of the network's tests: softmax regression in numpy, so that a worker starts quickly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.network.synthetic import Nothing, Numbers
from fogline.aggregation import Folded
from fogline.aggregation.rules import Rule
from fogline.algorithms import FedAvg
from fogline.algorithms.base import AggregatorContext, ClientUpdate
from fogline.data import Examples, FederatedData, from_clients
from fogline.params import Entry, Params, Spec, State, Vector
from fogline.stages import Extent, Layout, LinkContext, Named, Stage
from fogline.training.context import DeviceContext
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import LocalMethod
from fogline.training.task import Sums, Task
from tests.toy import SplitToy, ToyEngine, ToyTask, toy_data


class Troubled(ToyTask):
    """Some of its devices fail, or are slow.

    Args:
        clients: how many.
        broken: place of one whose training raises.
        blind: place of one whose training ends in no number.
        huge: place of one that moves further than a fold can add up.
        poisoned: place of one that moves far away.
        slow: seconds that every training takes.
        trace: file that gets a line per training: client and seed.
    """

    def __init__(
        self, clients: int, broken: int, blind: int, huge: int, slow: float, trace: str, poisoned: int
    ) -> None:
        super().__init__(toy_data(clients))
        self.far = {huge: np.float32(2e38), poisoned: np.float32(1e3)}
        self.broken, self.blind, self.slow, self.trace = broken, blind, slow, trace

    def engines(self) -> dict[str, type[ToyEngine]]:
        return {"loop": TroubledEngine}


class TroubledSplit(SplitToy, Troubled):
    """The same with weights in two entries, ``body`` and ``head``."""


class TroubledEngine(ToyEngine):
    task: Troubled

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        made = list(jobs)
        for i, job in enumerate(jobs):
            if self.task.trace:
                with Path(self.task.trace).open("a") as file:
                    file.write(f"{job.client} {job.seed}\n")
            if job.client == self.task.broken:
                raise RuntimeError("the sensor is unplugged")
            if job.client == self.task.blind:
                made[i] = replace(job, start=np.full_like(job.start, np.nan))
        time.sleep(self.task.slow)
        done = super().train(made)
        far = self.task.far
        return [replace(one, end=one.end + far[one.client]) if one.client in far else one for one in done]


class Farthest(Rule):
    """What is farthest from zero, shortened."""

    by: float = 1.0

    def combine(self, block: Any, weights: Any) -> Vector:
        return np.take_along_axis(block, np.abs(block).argmax(axis=0)[None], 0)[0] / np.float32(self.by)


class Wrong(Rule):
    """Wrong where only a fog comes: it has more than one device, and each alone is right."""

    how: str = "nan"

    def combine(self, block: Any, weights: Any) -> Vector:
        if len(block) > 1 and self.how == "exit":
            raise SystemExit("enough")
        return block[0] * np.float32(np.nan if len(block) > 1 else 1.0)


class Reports(FedAvg):
    """Wrong where a fog reports what its rounds came to."""

    def group_update(self, start: Vector, delta: Vector, weight: Any, totals: Any) -> Any:
        return {"delta": delta}


class Inside(FedAvg):
    """Wrong in a fog's own rounds."""

    def inner_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        raise SystemExit(3)


class Receives(FedAvg):
    """Wrong where only a fog comes."""

    def receive(self, group: Vector | None, model: Vector, state: State, received: State) -> State:
        return {"seen": received["sent"]}


class Telling(FedAvg):
    """Says how far a device moved."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        return super().report(device)._replace(metrics={"moved": float(np.abs(device.end - device.start).sum())})


class Moves(FedAvg):
    """Wrong at the root."""

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return model + folded.mean("dleta"), state


def task(
    clients: int = 4,
    broken: int = -1,
    blind: int = -1,
    huge: int = -1,
    slow: float = 0.0,
    trace: str = "",
    poisoned: int = -1,
    split: bool = False,
    new: str = "",
) -> ToyTask:
    """``new``: a client that never trains."""
    kind = TroubledSplit if split else Troubled
    made = kind(clients, broken, blind, huge, slow, trace, poisoned)
    if new:
        made.data = made.data.with_held_out([new])
    return made


def numbers(clients: int = 4, size: int = 20_000) -> Task:
    """A model that is too large to travel with a message, and costs nothing to train."""
    one = Examples(np.zeros((10, 1), np.float32), np.zeros(10, np.float32))
    return Numbers(from_clients("nothing", {f"client-{i}": one for i in range(clients)}), size)


class Noise(Numbers):
    """As :class:`Numbers`, but model and movements are noise, which no compression shrinks, in eight bits neither."""

    def initial(self, seed: int) -> Params:
        return Params(self.spec, _noise(seed, self.spec.trainable), np.zeros(0, np.int64))

    def engines(self) -> dict[str, type[Nothing]]:
        return {"loop": NoiseEngine}


class NoiseEngine(Nothing):
    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        return [
            LocalResult(j.client, j.start + _noise(j.seed, j.start.size), j.counters, 10, j.steps, 1.0, 1.0)
            for j in jobs
        ]


def _noise(seed: int, size: int) -> Vector:
    return np.random.default_rng(seed).standard_normal(size, np.float32)


def noise(clients: int = 4, size: int = 20_000) -> Task:
    one = Examples(np.zeros((10, 1), np.float32), np.zeros(10, np.float32))
    return Noise(from_clients("nothing", {f"client-{i}": one for i in range(clients)}), size)


class Backbone(Noise):
    """A head that moves by noise, on frozen numbers that decide how far: floats, and codes that no compression shrinks.

    Args:
        head: numbers that train.
        size: codes.
        expected: sum of the codes that devices must have; 0: any.
        pause: seconds that every training takes.
    """

    def __init__(self, data: FederatedData, head: int, size: int, expected: int, pause: float) -> None:
        super().__init__(data, head)
        self.expected, self.pause = expected, pause
        self._spec = Spec.of(
            [
                Entry("head", (head,), "float32"),
                Entry("body", (1000,), "float32", "frozen"),
                Entry("codes", (size,), "int8", "frozen"),
            ]
        )

    def initial(self, seed: int) -> Params:
        codes = np.random.default_rng(seed).integers(-128, 128, self.spec.integers)
        return Params(self.spec, _noise(seed, self.spec.floats), codes)

    def engines(self) -> dict[str, type[Nothing]]:
        return {"loop": HeadEngine}

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        """The cloud judges with what is frozen: the loss is the sum of the whole model."""
        whole = float(params.vector.sum(dtype=np.float64)) + float(params.counters.sum())
        return {"count": 1.0, "loss": whole, "squared_error": 0.0, "absolute_error": 0.0}


class HeadEngine(Nothing):
    def __init__(self, task: Task, method: LocalMethod, local: LocalTraining) -> None:
        assert isinstance(task, Backbone)
        self.task = task

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        return [self._train(job) for job in jobs]

    def _train(self, job: ClientJob) -> LocalResult:
        time.sleep(self.task.pause)
        head, codes = self.task.spec.trainable, int(job.counters.sum())
        if self.task.expected not in (0, codes):
            raise RuntimeError(f"the codes add up to {codes}, not {self.task.expected}")
        far = np.float32(job.start[head:].sum(dtype=np.float64) + codes)
        end = job.start.copy()
        end[:head] += _noise(job.seed, head) * far
        return LocalResult(job.client, end, job.counters, 10, job.steps, 1.0, 1.0)


def backbone(
    clients: int = 4, head: int = 20_000, size: int = 50_000, expected: int = 0, pause: float = 0.0
) -> Backbone:
    one = Examples(np.zeros((10, 1), np.float32), np.zeros(10, np.float32))
    data = from_clients("nothing", {f"client-{i}": one for i in range(clients)}, test=one)
    return Backbone(data, head, size, expected, pause)


def adapted(clients: int = 4) -> Task:
    """A PyTorch module with low-rank adapters in its large layer: 4,096 numbers train."""
    from torch import nn

    from fogline import Lora, adapt
    from fogline.training.torch import TorchTask

    def module() -> nn.Module:
        wide = nn.Sequential(nn.Linear(4, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 3))
        return adapt(wide, Lora(rank=4, alpha=8, names=("2",)))

    return TorchTask(module, toy_data(clients))


class Sign(Stage):
    """The signs of the movement times its mean magnitude: a stage of the developer's own."""

    codes = True

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        encoded = Named()
        for name, vector in update.items():
            encoded["up/" + name] = vector > 0
            encoded["size/" + name] = np.abs(vector).mean(keepdims=True)
        return encoded, state

    def receive(self, encoded: Named) -> Named:
        names = [name.removeprefix("up/") for name in encoded if name.startswith("up/")]
        return {name: np.where(encoded["up/" + name], 1, -1) * encoded["size/" + name] for name in names}

    def layout(self, layout: Layout) -> dict[str, Extent]:
        signs = {"up/" + name: Extent(np.dtype(bool), extent.count) for name, extent in layout.items()}
        return signs | {"size/" + name: Extent(extent.dtype, 1) for name, extent in layout.items()}


class Counts(Stage):
    """A sender's movement is how often it has sent one, by what it remembers."""

    lossy = False

    @property
    def remembers(self) -> bool:
        return True

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        sent = {name: state.get(name, np.zeros_like(vector)) + vector.dtype.type(1) for name, vector in update.items()}
        return dict(sent), dict(sent)

    def receive(self, encoded: Named) -> Named:
        return encoded

    def layout(self, layout: Layout) -> Layout:
        return layout


def layered(clients: int = 4) -> Task:
    """The same data for a PyTorch module that can be cut, with running statistics."""
    from torch import nn

    from fogline.training.torch import TorchTask

    def module() -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
        )

    return TorchTask(module, toy_data(clients))


def headed(clients: int = 4) -> Task:
    """The same data for a PyTorch module with a head at each of two depths."""
    import torch
    from torch import nn

    from fogline.training.torch import TorchTask

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.head1 = nn.Linear(4, 8), nn.Linear(8, 3)
            self.two, self.head2 = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.one(x).relu()
            return self.head1(x), self.head2(self.two(x).relu())

    return TorchTask(Heads, toy_data(clients))

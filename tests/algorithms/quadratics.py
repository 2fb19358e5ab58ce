"""A tiny federated problem with known gradients, and a tree that runs on the hooks alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch

from fogline.aggregation import Partial, Update, fold_named
from fogline.algorithms import AggregatorContext, Algorithm, hooks
from fogline.algorithms import group as groups
from fogline.algorithms.device import run_cohort
from fogline.algorithms.group import Down, GroupModel
from fogline.data import Examples
from fogline.jobs import Tier
from fogline.params import Entry, Params, SharedPart, Spec
from fogline.training import Engine, LocalMethod, Plan
from fogline.training.context import WORK, Draws, RoundContext
from fogline.training.hook_calls import watched
from fogline.training.kept_on_device import Home
from fogline.training.local import ClientJob, LocalResult
from fogline.training.method import overrides


@dataclass
class Quadratics:
    """Device i minimises ``(w - b_i)' A_i (w - b_i) / 2``, with so many steps, at that rate."""

    a: np.ndarray
    b: np.ndarray
    samples: np.ndarray
    steps: np.ndarray
    rate: float = 0.1
    buffers: int = 2
    private: int = 0
    """How many of the numbers, the last ones, each device has of its own."""
    sealed: ClassVar[bool] = False
    sub_models: ClassVar[None] = None
    trains_itself: ClassVar[bool] = False

    @classmethod
    def make(cls, devices: int = 6, size: int = 3, seed: int = 0, same_steps: bool = False) -> Quadratics:
        rng = np.random.default_rng(seed)
        a = np.stack([np.diag(rng.uniform(0.2, 2.0, size)) for _ in range(devices)])
        steps = np.full(devices, 5) if same_steps else rng.integers(1, 7, devices)
        return cls(a, rng.normal(size=(devices, size)) * 3, rng.integers(5, 50, devices), steps)

    @property
    def size(self) -> int:
        return self.b.shape[1]

    def gradient(self, i: int, w: np.ndarray) -> np.ndarray:
        return self.a[i] @ (w - self.b[i])

    def sgd(
        self, i: int, w: np.ndarray, adjust: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda g, w: g
    ) -> Any:
        """Local training, written down once more without any hook."""
        for _ in range(self.steps[i]):
            w = w - self.rate * adjust(self.gradient(i, w), w)
        return w

    def optimum(self, weights: Sequence[float]) -> np.ndarray:
        p = np.asarray(weights, float) / np.sum(weights)
        return np.linalg.solve(np.einsum("i,ijk->jk", p, self.a), np.einsum("i,ijk,ik->j", p, self.a, self.b))

    # What the runtime wants of a task and an engine.

    @cached_property
    def spec(self) -> Spec:
        head = [Entry("head", (self.private,), "float64")] if self.private else []
        return Spec.of(
            [
                Entry("w", (self.size - self.private,), "float64"),
                *head,
                Entry("running", (self.buffers,), "float64", role="buffer"),
                Entry("batches", (), "int64", role="buffer"),
            ]
        )

    @cached_property
    def home(self) -> Home | None:
        private = frozenset({"head"} if self.private else ())
        return Home(SharedPart(self.spec, private), lambda: Params.zeros(self.spec)) if private else None

    @property
    def shared(self) -> Spec:
        return self.spec if self.home is None else self.home.part.shared

    @cached_property
    def data(self) -> Any:
        def at(i: int) -> Examples:
            labels = np.arange(self.samples[i]) % min(i + 2, self.size)  # An output, and so a class, for each number.
            return Examples(np.full((self.samples[i], 1), float(i)), labels)

        clients = [f"client-{i}" for i in range(len(self.b))]
        public = Examples(np.linspace(-1.0, 2.0, 7)[:, None], np.zeros(7, np.int64))
        return SimpleNamespace(at=at, clients=clients, sizes=lambda: self.samples, public=public)

    def model_functions(self, job: ClientJob) -> Any:
        """Of all its examples a device knows where it is; an example x has the outputs x w."""

        def loss(
            w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: bool, own: Any = None
        ) -> tuple[float, np.ndarray]:
            if own is not None:
                leaf = torch.tensor(w, requires_grad=True)
                value = own(torch.tensor(x) * leaf, torch.tensor(y))
                value.backward()
                return value.item(), leaf.grad.numpy()
            i = int(x[0, 0])
            return float((w - self.b[i]) @ self.gradient(i, w) / 2), self.gradient(i, w)

        def features(w: np.ndarray, x: np.ndarray) -> np.ndarray:
            return np.tile(w, (len(x), 1))

        return SimpleNamespace(loss=loss, features=features, outputs=lambda w, x: x * w)

    def trainer(self, method: Algorithm) -> Engine:
        return Descent(self, watched(method, self.home))

    def train(self, method: LocalMethod, job: ClientJob) -> LocalResult:
        i, n = job.client, self.size
        start = job.start[:n]
        w = start
        for _ in range(job.steps):
            g = self.gradient(i, w)
            g = self.gradient(i, method.perturb(w, g))
            w = w - job.learning_rate * method.adjust_gradient(g, w, start, job.local, job.received)
        end = np.concatenate([w, job.start[n:] + float(i)])
        return LocalResult(i, end, job.counters + job.steps, int(self.samples[i]), job.steps, 0.0, 0.0)


class Descent(Engine):
    """Trains on quadratics, device by device."""

    name, summary = "descent", "Gradient descent."

    def __init__(self, task: Quadratics, method: LocalMethod) -> None:
        self.task, self.method = task, method

    @classmethod
    def refuses(cls, *_: Any) -> str | None:
        return None

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        return [self.task.train(self.method, job) for job in jobs]


@dataclass
class Run:
    """A method on a problem: device states, and rounds on any tree of lists of devices."""

    method: Algorithm
    problem: Quadratics
    exact: bool = False
    locals: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    fogs: dict[str, GroupModel] = field(default_factory=dict)
    moves: int = 0

    def __post_init__(self) -> None:
        self.group = groups.root(Params.zeros(self.problem.shared))

    @property
    def x(self) -> np.ndarray:
        return self.group.vector[: self.problem.shared.trainable]

    @property
    def judged(self) -> np.ndarray:
        return groups.evaluation_model(self.method, self.problem.shared, self.group).vector[
            : self.problem.shared.trainable
        ]

    def device(self, i: int, down: Down) -> Update:
        p = self.problem
        local, plan = self.locals.get(i, {}), Plan(int(p.steps[i]), int(p.samples[i]), p.rate)
        if overrides(self.method, "phases"):  # Who draws a number of steps makes those of the problem here.
            plan = hooks.work(self.method, plan, RoundContext(f"client-{i}", self.moves, Draws(0, 0, WORK)))
        job = ClientJob(i, down.vector, down.counters, plan.steps, p.rate, 0, local, down.received)
        (done,) = run_cohort(p.trainer(self.method), self.method, p, [job])  # type: ignore[arg-type]
        assert done.update is not None
        self.locals[i] = done.local
        return done.update

    def child(self, child: Any, down: Down, rounds: int, name: str) -> Update | Partial:
        """A device's update, or what a fog (a list of children) sends up."""
        if isinstance(child, int):
            return self.device(child, down)
        m, spec = self.method, self.problem.shared
        fold = fold_named(self.exact)
        if rounds == 1 and not m.group_models:
            for k, below in enumerate(child):
                fold.take(self.child(below, down, rounds, f"{name}/{k}"))
            return fold.partial()
        fog = groups.adopt(m, spec, self.fogs.get(name), down)
        for _ in range(rounds):
            sent = groups.send_down(m, fog)
            for k, below in enumerate(child):
                fold.take(self.child(below, sent, rounds, f"{name}/{k}"))
            fog = groups.move(m, spec, fog, fold.finish(), AggregatorContext(count(child), 0), inside=True)
        self.fogs[name] = fog
        return groups.group_update(m, spec, fog)

    def round(self, children: Sequence[Any], rounds: int = 1, population: int | None = None) -> np.ndarray:
        """One round of the root."""
        fold, down = fold_named(self.exact), groups.send_down(self.method, self.group)
        for k, child in enumerate(children):
            fold.take(self.child(child, down, rounds, str(k)))
        self.move(fold.finish(), population or count(children))
        return self.x

    def move(self, folded: Any, population: int, lane: int = 0, lanes: int = 1) -> None:
        facts = AggregatorContext(population, self.moves, lane, lanes)
        self.group = groups.move(self.method, self.problem.shared, self.group, folded, facts, inside=False)
        self.moves += 1

    def asynchronous(self, arrivals: Sequence[tuple[int, int]], lanes: int = 1) -> np.ndarray:
        """Devices arrive, each with an update that many versions old."""
        history = [groups.send_down(self.method, self.group)]
        fold, inside = fold_named(self.exact), 0
        for i, staleness in arrivals:
            staleness = min(staleness, len(history) - 1)
            fold.take(self.device(i, history[-1 - staleness]), self.method.staleness_weight(staleness))
            inside += 1
            if inside == Tier().buffer_of(self.method.buffer, len(self.problem.a)):
                self.move(fold.finish(), len(self.problem.b), i % lanes, lanes)
                history.append(groups.send_down(self.method, self.group))
                inside = 0
        return self.x


def count(child: Any) -> int:
    """Devices below."""
    return 1 if isinstance(child, int) else sum(count(c) for c in child)

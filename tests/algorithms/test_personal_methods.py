"""Methods that give each device a model of its own: against their formulas in plain PyTorch, on every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import fogline
from fogline import JobError, Result, Tier, Tree
from fogline.aggregation import fold_named
from fogline.algorithms import AggregatorContext, Algorithm, hooks, make
from fogline.algorithms import group as groups
from fogline.algorithms.checks import check_method
from fogline.algorithms.device import opened, run_cohort
from fogline.algorithms.phases import train_in_phases
from fogline.algorithms.private import private_names, with_home, with_weights
from fogline.data import Examples, from_clients
from fogline.training import ClientJob, LocalTraining, Plan
from fogline.training.context import DeviceContext, Draws, RoundContext
from fogline.training.phase import Phases, TrainingPhase
from fogline.user_code.bugs import CodeError

STEPS, RATE, ROUNDS, CLASSES = 3, 0.2, 3, 3
LOCAL: dict[str, Any] = {"batch_size": None, "steps": STEPS, "learning_rate": RATE}
SIZES = (9, 6, 12, 5)
TREE = Tree(cloud=Tier(), fog=Tier(count=2))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with task().one_thread():
        yield


class Net(nn.Module):
    """A body and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 3), nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x)))


BODY = 4 * 3 + 3


def examples(client: int, count: int) -> Examples:
    """Of few classes, which differ."""
    rng = np.random.default_rng((client, count))
    y = (client + rng.integers(2, size=count)) % CLASSES
    return Examples((rng.normal(size=(count, 4)) + y[:, None]).astype(np.float32), y)


def task(new: bool = False) -> fogline.Task:
    train = {f"c{i}": examples(i, size) for i, size in enumerate(SIZES)}
    test = {name: examples(i, 20) for i, name in enumerate(train)}
    train |= {"new": examples(7, 20)} if new else {}
    data = from_clients("few", train, test=test, classes=CLASSES, held_out=["new"] if new else [])
    return fogline.Task(Net, data)


def simulate(method: Algorithm, new: bool = False, **more: Any) -> Result:
    settings: dict[str, Any] = {
        "rounds": ROUNDS,
        "processes": 0,
        "progress": False,
        "chunk": 4,
        "engine": "loop",
    } | more
    return fogline.simulate(task(new), method, local=LOCAL, **settings)


def learned(method: Algorithm, engine_name: str, groups_of: list[list[int]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The common model after some rounds, and the models that devices are judged with: each group is a fog's."""
    plain, local = task(), LocalTraining(**LOCAL)
    own, kept = with_home(plain, method, lambda: plain.initial(0)), dict[int, Any]()
    part = None if own.home is None else own.home.part
    group = groups.root(plain.initial(0) if part is None else part.cut(plain.initial(0)))
    engine = own.build(engine_name, method, local)

    def jobs(r: int, places: list[int], steps: int) -> list[ClientJob]:
        down = groups.send_down(method, group)
        return [
            ClientJob(i, down.vector, down.counters, steps, RATE, 10 * r + i, kept.get(i, {}), down.received, r)
            for i in places
        ]

    for r in range(ROUNDS):
        fold, steps = fold_named(False), hooks.work(method, Plan(STEPS, 1, RATE), RoundContext("c", r, Draws(0, 0, 0)))
        for places in groups_of:
            below = fold_named(False)
            for done in run_cohort(engine, method, own, jobs(r, places, steps.steps)):
                assert done.update is not None
                kept[done.client] = done.local
                below.take(done.update)
            fold.take(below.partial())
        group = groups.move(method, own.shared, group, fold.finish(), AggregatorContext(len(SIZES), r), inside=False)
    ready = [opened(own, job) for job in jobs(ROUNDS, list(DEVICES), method.fine_tune_epochs)]
    if method.fine_tune_epochs:
        tuned = train_in_phases(engine, method, own, ready, [None] * len(ready), "fine_tune")
        return group.vector, [done.end for done, _ in tuned]
    models = [with_weights(own, job.start, hooks.judge(method, DeviceContext(own, job))) for job in ready]
    return group.vector, models


@dataclass
class ByHand:
    """A few devices in plain PyTorch: full gradients, one vector a model."""

    module: nn.Module = field(default_factory=Net)
    weights: Tensor = field(default_factory=lambda: torch.from_numpy(task().initial(0).vector.copy()))

    def loss(self, w: Tensor, on: Examples, prior: Tensor | float = 0.0) -> Tensor:
        shapes = [p.shape for p in self.module.parameters()]
        names = [name for name, _ in self.module.named_parameters()]
        parts = [part.view(s) for part, s in zip(w.split([s.numel() for s in shapes]), shapes, strict=True)]
        outputs = functional_call(self.module, dict(zip(names, parts, strict=True)), (torch.from_numpy(on.array),))
        return nn.functional.cross_entropy(outputs + prior, torch.from_numpy(on.y))

    def descend(
        self,
        w: Tensor,
        client: int,
        steps: int = STEPS,
        pull: Callable[[Tensor], Tensor] = torch.zeros_like,
        only: slice = slice(None),
        prior: Tensor | float = 0.0,
    ) -> Tensor:
        for _ in range(steps):
            leaf = w.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(leaf, examples(client, SIZES[client]), prior), leaf)
            w = w.clone()
            w[only] -= RATE * (gradient + pull(w))[only]
        return w

    def mean(self, ends: list[Tensor], shares: tuple[int, ...] = SIZES) -> Tensor:
        weights = torch.tensor(shares) / sum(shares)
        return torch.stack([share * end for share, end in zip(weights, ends, strict=True)]).sum(0)

    def judged(self, models: list[Tensor]) -> float:
        return float(np.mean([self.loss(w, examples(i, 20)).item() for i, w in enumerate(models)]))


DEVICES = range(len(SIZES))
HEAD, SHARED = slice(BODY, None), slice(None, BODY)


def ditto(hand: ByHand) -> list[Tensor]:
    x, own = hand.weights, [hand.weights for _ in DEVICES]
    for _ in range(ROUNDS):
        own = [hand.descend(own[i], i, pull=lambda v, x=x: 0.7 * (v - x)) for i in DEVICES]
        x = hand.mean([hand.descend(x, i) for i in DEVICES])
    hand.weights = x
    return own


def pfedme(hand: ByHand) -> list[Tensor]:
    x, own = hand.weights, list[Tensor]()
    for _ in range(ROUNDS):
        ends, own = list[Tensor](), list[Tensor]()
        for i in DEVICES:
            w = theta = x
            for _ in range(STEPS):
                theta = hand.descend(w, i, 4, lambda v, w=w: 2.0 * (v - w))
                w = w - 0.1 * 2.0 * (w - theta)
            ends.append(w)
            own.append(theta)
        x = 0.5 * x + 0.5 * hand.mean(ends, (1, 1, 1, 1))
    hand.weights = x
    return own


def fedrep(hand: ByHand) -> list[Tensor]:
    own = [hand.weights for _ in DEVICES]
    for _ in range(ROUNDS):
        own = [hand.descend(hand.descend(w, i, only=HEAD), i, 2, only=SHARED) for i, w in enumerate(own)]
        body = hand.mean(own)[SHARED]
        own = [torch.cat([body, w[HEAD]]) for w in own]
    hand.weights = own[0][SHARED]
    return own


def lgfedavg(hand: ByHand) -> list[Tensor]:
    own = [hand.weights for _ in DEVICES]
    for _ in range(ROUNDS):
        own = [hand.descend(w, i) for i, w in enumerate(own)]
        head = hand.mean(own)[HEAD]
        own = [torch.cat([w[SHARED], head]) for w in own]
    hand.weights = own[0][HEAD]
    return own


def fedbabu(hand: ByHand) -> list[Tensor]:
    x = hand.weights
    for _ in range(ROUNDS):
        x = hand.mean([hand.descend(x, i, only=SHARED) for i in DEVICES])
    hand.weights = x[SHARED]
    return [hand.descend(x, i, 5) for i in DEVICES]  # An epoch of one batch is a step.


def fedrod(hand: ByHand) -> list[Tensor]:
    x, personal = hand.weights, [torch.zeros_like(hand.weights[HEAD]) for _ in DEVICES]

    def whole(i: int) -> Tensor:
        return torch.cat([x[SHARED], x[HEAD] + personal[i]])

    for _ in range(ROUNDS):
        personal = [hand.descend(whole(i), i, only=HEAD)[HEAD] - x[HEAD] for i in DEVICES]
        counts = [np.bincount(examples(i, SIZES[i]).y, minlength=CLASSES) for i in DEVICES]
        prior = [torch.tensor(np.log(np.maximum(n, 1e-8)), dtype=torch.float32) for n in counts]
        x = hand.mean([hand.descend(x, i, prior=prior[i]) for i in DEVICES])
    hand.weights = x
    return [whole(i) for i in DEVICES]


FORMULAS: dict[str, tuple[dict[str, Any], Callable[[ByHand], list[Tensor]]]] = {
    "ditto": ({"lam": 0.7}, ditto),
    "pfedme": ({"lam": 2.0, "inner_steps": 4, "rate": 0.1, "beta": 0.5}, pfedme),
    "fedrep": ({"body_epochs": 2}, fedrep),
    "lgfedavg": ({}, lgfedavg),
    "fedbabu": ({}, fedbabu),
    "fedrod": ({}, fedrod),
}


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
@pytest.mark.parametrize("groups_of", [[[0, 1, 2, 3]], [[0, 2], [1, 3]]], ids=["star", "tree"])
@pytest.mark.parametrize("name", FORMULAS)
def test_the_common_model_and_the_devices_own_are_what_the_formulas_give(
    name: str, engine: str, groups_of: list[list[int]]
) -> None:
    (parameters, formula), hand = FORMULAS[name], ByHand()
    own = formula(hand)
    common, models = learned(make(name, **parameters), engine, groups_of)
    np.testing.assert_allclose(common, hand.weights, rtol=2e-4, atol=2e-6)
    for model, theirs in zip(models, own, strict=True):
        np.testing.assert_allclose(model, theirs, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["ditto", "fedbabu"])
def test_devices_judge_with_their_own_model_where_the_job_does_not_say_who_judges(name: str) -> None:
    (parameters, formula), hand = FORMULAS[name], ByHand()
    judged = hand.judged(formula(hand))
    result = simulate(make(name, **parameters), tree=TREE)
    assert result.job.evaluation.where == "devices"
    assert result.metrics["loss"] == pytest.approx(judged, rel=1e-4)


def test_a_device_that_never_trained_is_judged_with_the_common_model() -> None:
    hand = ByHand()
    FORMULAS["ditto"][1](hand)
    result = simulate(make("ditto", lam=0.7), new=True)
    assert result.held_out is not None
    assert result.held_out["loss"] == pytest.approx(hand.loss(hand.weights, examples(7, 20)).item(), rel=1e-4)


def test_which_entries_stay() -> None:
    spec = task().spec
    head, body = {"head.weight", "head.bias"}, {"body.weight", "body.bias"}
    assert private_names(make("fedrep"), spec) == private_names(make("fedbabu"), spec) == head
    assert private_names(make("lgfedavg"), spec) == body
    assert private_names(make("lgfedavg", private=["body.bias"]), spec) == {"body.bias"}


# Phases that are wrong.


class Listing(type(make("fedavg"))):  # type: ignore[misc]
    """Returns its phases."""

    def phases(self, device: DeviceContext) -> Any:
        return [TrainingPhase()]


class Idle(type(make("fedavg"))):  # type: ignore[misc]
    """Yields none."""

    def phases(self, device: DeviceContext) -> Phases:
        yield from ()


class Yielding(type(make("fedavg"))):  # type: ignore[misc]
    """Yields something else."""

    def phases(self, device: DeviceContext) -> Any:
        yield 3


class Lost(type(make("fedavg"))):  # type: ignore[misc]
    """Names a layer that there is none of."""

    def phases(self, device: DeviceContext) -> Phases:
        yield TrainingPhase(only=["tail.*"])


class Broken(type(make("fedavg"))):  # type: ignore[misc]
    """Fails after its first phase."""

    def phases(self, device: DeviceContext) -> Phases:
        end = yield TrainingPhase()
        yield TrainingPhase(end[:3])


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Listing, r"Listing\.phases gives a list; it must yield its phases: end = yield TrainingPhase"),
        (Idle, r"Idle\.phases yields no phase, so that nothing trains"),
        (Yielding, r"Yielding\.phases gives an int; it must yield TrainingPhase"),
        (Lost, r"Lost\.phases gives a phase of which no entry of the model is called 'tail\.\*'; there are body"),
        (Broken, r"Broken\.phases gives a model of shape \(3,\) where \(27,\) is wanted"),
    ],
)
def test_phases_that_are_none_are_named(method: type[Algorithm], words: str) -> None:
    with pytest.raises(CodeError, match=words):
        learned(method(), "loop", [[0, 1]])


def test_phases_are_refused_beside_a_local_round_and_where_single_examples_are_protected() -> None:
    class Both(Idle):
        def local_round(self, device: DeviceContext) -> Any:
            return None

    with pytest.raises(ValueError, match="so that its phases would never be called"):
        check_method(Both)
    with pytest.raises(JobError, match="the method trains in phases, over which nobody accounts"):
        simulate(Idle(), privacy={"unit": "example", "noise": 1.0})

"""Methods that give each device a model of its own: against their formulas in plain PyTorch, on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
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
from fogline.params import Params
from fogline.training import ClientJob, LocalTraining, Plan
from fogline.training.context import DeviceContext, Draws, RoundContext
from fogline.training.method import overrides
from fogline.training.phase import Phases, TrainingPhase
from fogline.user_code.bugs import CodeError

STEPS, RATE, ROUNDS, CLASSES = 3, 0.2, 3, 3
ALPHA = 0.15
"""Per-FedAvg's."""
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


def simulate(method: Algorithm | str, new: bool = False, **more: Any) -> Result:
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
        return nn.functional.cross_entropy(self.outputs(w, on) + prior, torch.from_numpy(on.y))

    def fit(self, w: Tensor, client: int) -> Tensor:
        return self.loss(w, examples(client, SIZES[client]))

    def gradient(self, w: Tensor, client: int) -> Tensor:
        leaf = w.clone().requires_grad_()
        return torch.autograd.grad(self.fit(leaf, client), leaf)[0]

    def distilled(self, w: Tensor, on: Examples, taught: dict[int, Tensor]) -> Tensor:
        """The cross-entropy with what is taught of each class."""
        shares = self.outputs(w, on).softmax(-1).log()
        rows = [-(taught[y].softmax(0) * shares[n]).sum() for n, y in enumerate(on.y.tolist()) if y in taught]
        return 0.8 * torch.stack([*rows, torch.zeros(())]).sum() / len(on.y)

    def features(self, on: Examples) -> Tensor:
        return torch.tanh(torch.from_numpy(on.array) @ self.weights[:12].view(3, 4).T + self.weights[12:BODY])

    def outputs(self, w: Tensor, on: Examples) -> Tensor:
        shapes = [p.shape for p in self.module.parameters()]
        names = [name for name, _ in self.module.named_parameters()]
        parts = [part.view(s) for part, s in zip(w.split([s.numel() for s in shapes]), shapes, strict=True)]
        return functional_call(self.module, dict(zip(names, parts, strict=True)), (torch.from_numpy(on.array),))

    def descend(
        self,
        w: Tensor,
        client: int,
        steps: int = STEPS,
        pull: Callable[[Tensor], Tensor] = torch.zeros_like,
        only: slice = slice(None),
        prior: Tensor | float = 0.0,
        taught: dict[int, Tensor] | None = None,
    ) -> Tensor:
        on = examples(client, SIZES[client])
        for _ in range(steps):
            leaf = w.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(leaf, on, prior) + self.distilled(leaf, on, taught or {}), leaf)
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


def perfedavg(hand: ByHand) -> list[Tensor]:
    x = hand.weights
    for _ in range(ROUNDS):
        ends = [x for _ in DEVICES]
        for _ in range(STEPS):
            ends = [w - RATE * hand.gradient(w - ALPHA * hand.gradient(w, i), i) for i, w in enumerate(ends)]
        x = hand.mean(ends)
    hand.weights = x
    return [x - ALPHA * hand.gradient(x, i) for i in DEVICES]


def perfedavg_hf(hand: ByHand) -> list[Tensor]:
    """With the derivative of ``f_i(w - alpha grad f_i(w))``."""
    x = hand.weights
    for _ in range(ROUNDS):
        ends = list[Tensor]()
        for i in DEVICES:
            w = x
            for _ in range(STEPS):
                leaf = w.clone().requires_grad_()
                (slope,) = torch.autograd.grad(hand.fit(leaf, i), leaf, create_graph=True)
                w = w - RATE * torch.autograd.grad(hand.fit(leaf - ALPHA * slope, i), leaf)[0]
            ends.append(w)
        x = hand.mean(ends)
    hand.weights = x
    return [x - ALPHA * hand.gradient(x, i) for i in DEVICES]


def apfl(hand: ByHand, learns: bool = False) -> list[Tensor]:
    x, own, alphas = hand.weights, [hand.weights for _ in DEVICES], [0.6 for _ in DEVICES]
    for _ in range(ROUNDS):
        for i in DEVICES:
            if learns:
                slope = (own[i] - x) @ hand.gradient(alphas[i] * own[i] + (1 - alphas[i]) * x, i)
                alphas[i] = min(1.0, max(0.05, alphas[i] - RATE * slope.item()))
            for _ in range(STEPS):
                mixture = alphas[i] * own[i] + (1 - alphas[i]) * x
                own[i] = own[i] - RATE * alphas[i] * hand.gradient(mixture, i)
        x = hand.mean([hand.descend(x, i) for i in DEVICES])
    hand.weights = x
    return [a * v + (1 - a) * x for a, v in zip(alphas, own, strict=True)]


def fedala(hand: ByHand) -> list[Tensor]:
    x, own = hand.weights, list[Tensor]()
    mixes = [torch.cat([torch.ones(BODY), torch.ones(len(x) - BODY)]) for _ in DEVICES]
    for r in range(ROUNDS):
        starts = [x for _ in DEVICES]
        for i in DEVICES if own else ():
            for _ in range(3 if r == 1 else 1):
                at = own[i] + (x - own[i]) * mixes[i]
                mixes[i][HEAD] = (mixes[i] - 1.5 * hand.gradient(at, i) * (x - own[i]))[HEAD].clamp(0, 1)
            starts[i] = own[i] + (x - own[i]) * mixes[i]
        own = [hand.descend(w, i) for i, w in enumerate(starts)]
        x = hand.mean(own)
    hand.weights = x
    return [w + (x - w) * mix for w, mix in zip(own, mixes, strict=True)]


def fedamp(hand: ByHand) -> list[Tensor]:
    own = [hand.weights for _ in DEVICES]
    clouds = own
    for _ in range(ROUNDS):
        own = [hand.descend(u, i, pull=lambda w, u=u: 0.5 / 0.3 * (w - u)) for i, u in enumerate(clouds)]
        clouds = list[Tensor]()
        for i, w in enumerate(own):
            pulls = {j: 0.3 * math.exp(-((w - v) ** 2).sum().item() / 2) / 2 for j, v in enumerate(own) if j != i}
            clouds.append((1 - sum(pulls.values())) * w + sum(pull * own[j] for j, pull in pulls.items()))
    return own


def feddistill(hand: ByHand) -> list[Tensor]:
    own, taught = [hand.weights for _ in DEVICES], dict[int, Tensor]()
    for _ in range(ROUNDS):
        own = [hand.descend(w, i, taught=taught) for i, w in enumerate(own)]
        rows = [hand.outputs(w, examples(i, SIZES[i])) for i, w in enumerate(own)]
        labels = [torch.from_numpy(examples(i, SIZES[i]).y) for i in DEVICES]
        means = [{c: out[y == c].mean(0) for c in y.unique().tolist()} for out, y in zip(rows, labels, strict=True)]
        taught = {
            c: torch.stack([of[c] for of in means if c in of]).mean(0)
            for c in range(CLASSES)
            if any(c in m for m in means)
        }
    return own


FORMULAS: dict[str, tuple[dict[str, Any], Callable[[ByHand], list[Tensor]]]] = {
    "ditto": ({"lam": 0.7}, ditto),
    "pfedme": ({"lam": 2.0, "inner_steps": 4, "rate": 0.1, "beta": 0.5}, pfedme),
    "fedrep": ({"body_epochs": 2}, fedrep),
    "lgfedavg": ({}, lgfedavg),
    "fedbabu": ({}, fedbabu),
    "fedrod": ({}, fedrod),
    "perfedavg": ({"alpha": ALPHA}, perfedavg),
    "perfedavg_hf": ({"alpha": ALPHA, "delta": 0.02}, perfedavg_hf),
    "apfl": ({"alpha": 0.6}, apfl),
    "apfl, alpha learned": ({"alpha": 0.6, "learns_alpha": True}, partial(apfl, learns=True)),
    "fedala": ({"layers": 1, "share": 1.0, "rate": 1.5, "first_passes": 3}, fedala),
    "fedamp": ({"alpha": 0.3, "sigma": 2.0, "lam": 0.5}, fedamp),
    "feddistill": ({"lam": 0.8}, feddistill),
}


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
@pytest.mark.parametrize("groups_of", [[[0, 1, 2, 3]], [[0, 2], [1, 3]]], ids=["star", "tree"])
@pytest.mark.parametrize("name", FORMULAS)
def test_the_common_model_and_the_devices_own_are_what_the_formulas_give(
    name: str, engine: str, groups_of: list[list[int]]
) -> None:
    (parameters, formula), hand = FORMULAS[name], ByHand()
    method = make(name.split(",")[0], **parameters)
    if overrides(method, "local_round") and engine != "loop":
        pytest.skip("trains in plain PyTorch")
    own = formula(hand)
    common, models = learned(method, engine, groups_of)
    np.testing.assert_allclose(common, hand.weights, rtol=2e-4, atol=2e-6)
    for model, theirs in zip(models, own, strict=True):
        np.testing.assert_allclose(model, theirs, rtol=2e-4, atol=2e-6)


BY_NEIGHBOURS = {"lam": 0.4, "neighbours": 3}


def test_devices_are_judged_by_neighbours_and_the_common_model() -> None:
    hand, losses = ByHand(), list[float]()
    for _ in range(ROUNDS):
        hand.weights = hand.mean([hand.descend(hand.weights, i) for i in DEVICES])
    for i in DEVICES:
        own, asked = examples(i, SIZES[i]), examples(i, 20)
        known, met = hand.features(own), hand.features(asked)
        shares = hand.outputs(hand.weights, asked).softmax(-1)
        for n, truth in enumerate(asked.y):
            apart = (known - met[n]).norm(dim=1)
            near = apart.argsort()[:3]
            votes = (-apart[near]).exp()
            found = votes[torch.from_numpy(own.y)[near] == int(truth)].sum() / votes.sum()
            losses.append(-math.log(0.4 * found + 0.6 * shares[n, truth] + 1e-12))
    for tree in (Tree(), TREE):
        result = simulate(make("knnper", **BY_NEIGHBOURS), tree=tree)
        assert result.metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert result.common is not None


def test_neighbours_of_numbers_give_their_mean() -> None:
    known = Examples(np.zeros((3, 1), np.float32), np.array([1.0, 3.0, 50.0]))
    places = {3: np.array([[0.0], [0.0], [9.0]]), 1: np.array([[0.0]])}

    def features_at(weights: Any, some: Examples) -> Any:
        return places[len(some.y)]

    device: Any = SimpleNamespace(examples=known, model=None, features_at=features_at)
    asked = Examples(np.zeros((1, 1), np.float32), np.zeros(1))
    given = make("knnper", lam=0.25, neighbours=2).judged_outputs(np.array([[10.0]]), asked, device)
    np.testing.assert_allclose(given, [[0.25 * 2 + 0.75 * 10]])


class Judging(fogline.Task):
    """Judges by itself."""

    def evaluate(self, params: Params, examples: Examples) -> dict[str, float]:
        return {"count": 1.0, "loss": 0.0}


class Short(type(make("fedavg"))):  # type: ignore[misc]
    """Leaves outputs out."""

    def judged_outputs(self, outputs: Any, examples: Examples, device: DeviceContext) -> Any:
        return outputs[1:]


def test_who_cannot_judge_outputs_is_refused_and_wrong_ones_are_named() -> None:
    settings: dict[str, Any] = {"processes": 0, "progress": False, "rounds": 1, "local": LOCAL}
    with pytest.raises(JobError, match=r"KNNPer changes the outputs .* task 'model' judges whole models only"):
        fogline.simulate(Judging(Net, task().data), make("knnper"), **settings)
    with pytest.raises(CodeError, match=r"Short\.judged_outputs gives <float32 \(19, 3\)>; it must give <float32"):
        simulate(Short(), evaluation={"where": "devices"})


@pytest.mark.parametrize("name", ["perfedavg", "perfedavg_hf", "apfl", "fedala", "fedamp", "feddistill", "knnper"])
def test_a_job_with_a_tree_finds_what_one_with_a_star_finds(name: str) -> None:
    star, tree = (simulate(name, tree=shape) for shape in (Tree(), TREE))
    assert star.job.evaluation.where == "devices"
    assert tree.metrics["loss"] == pytest.approx(star.metrics["loss"], rel=1e-4)


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

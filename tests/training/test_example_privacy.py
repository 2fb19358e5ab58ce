"""DP-SGD: each example's gradient is clipped, steps take examples by chance, and there is as much noise as is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import fogline.training.example_privacy as draws
import fogline.training.torch.steps.by_example as by_example
from benchmarks.engines.agreement import difference, refusal_of
from benchmarks.engines.grammar import case
from fogline.data import from_arrays
from fogline.privacy.accounting.events import Gaussian, Repeated, Sampled
from fogline.training import ClientJob, LocalMethod, LocalTraining
from fogline.training.example_privacy import ExamplePrivacy, event_of, fresh_secret
from fogline.training.torch import ENGINES, TorchTask, models
from fogline.training.torch.kernels import Graph
from fogline.training.torch.steps.clipping import GhostNorms
from fogline.training.torch.steps.optimizers import Collect
from fogline.training.torch.steps.stacked_weights import flat
from tests.training.cohorts import (
    Calibrated,
    Contrastive,
    Controlled,
    Distilled,
    Normed,
    Proximal,
    Sharp,
    distance,
    spoil,
    task_of,
    three_rounds,
)
from tests.training.test_agreement import SEQUENCES, Branches, Recurrent, Residual, batch_norm, convolutions, normed

ENGINE_NAMES = ("loop", "flat", "stacked")
QUIET = ExamplePrivacy(clip=0.5, noise=0.05)


def private(**settings: Any) -> LocalTraining:
    return LocalTraining(**{"learning_rate": 0.1, "batch_size": 4, "privacy": QUIET, **settings})


def once(task: TorchTask, engine: str, local: LocalTraining, **changes: Any) -> npt.NDArray[Any]:
    """How far one round moves the first device."""
    first = task.initial(0)
    steps = local.step_count(int(task.data.sizes()[0]))
    job = ClientJob(0, first.vector, first.counters, steps, local.learning_rate, 5)
    (done,) = task.build(engine, LocalMethod(), local).train([replace(job, **changes)])
    assert done.failure is None
    return done.end - first.vector


# What a step computes.


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_a_step_by_hand(engine: str) -> None:
    """Logistic regression, whose examples' gradients are known: all of them in one step, and no noise."""
    task, clip = task_of(lambda: nn.Sequential(nn.Linear(8, 5)), sizes=(13,)), 2.3
    local = private(batch_size=None, steps=1, privacy=ExamplePrivacy(clip=clip, noise=0.0))
    examples, first = task.data.at(0), task.initial(0).vector
    weight, bias = first[:40].reshape(5, 8), first[40:]
    scores = np.exp(examples.array @ weight.T + bias)
    slopes = scores / scores.sum(1, keepdims=True) - np.eye(5)[examples.y]
    each = np.concatenate([np.einsum("bi,bj->bij", slopes, examples.array).reshape(13, -1), slopes], 1)
    norms = np.linalg.norm(each, axis=1, keepdims=True)
    assert (norms > clip).any()
    assert (norms < clip).any()
    expected = -0.1 * (each * np.minimum(1.0, clip / norms)).sum(0) / 13
    np.testing.assert_allclose(once(task, engine, local), expected, rtol=1e-3, atol=1e-6)


SETTINGS = {
    "plain": private(),
    "whole": private(batch_size=None, epochs=3),
    "momentum": private(momentum=0.9, weight_decay=0.01),
    "adam": private(optimizer="adam", learning_rate=0.01),
    "rare": private(batch_size=1, steps=6),
}


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        *((LocalMethod, setting) for setting in SETTINGS),
        *((method, "momentum") for method in (Proximal, Controlled, Normed)),
        *((method, "plain") for method in (Calibrated, Distilled)),
    ],
)
def test_every_engine_gives_what_the_reference_gives(method: type[LocalMethod], setting: str) -> None:
    task, local = task_of(), SETTINGS[setting]
    reference = three_rounds(task, "loop", method(), local)
    for engine in ("flat", "stacked"):
        if ENGINES[engine].refusal(task, method(), local) is None:
            done = three_rounds(task, engine, method(), local)
            assert distance(task, reference, done) < 1e-3, engine
            np.testing.assert_allclose([t.loss for t in done], [t.loss for t in reference], rtol=1e-3)
        else:
            assert engine == "stacked"
            assert method in (Calibrated, Distilled)


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(6, 5)
    )


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 12), nn.Dropout(0.4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 5))


KINDS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], tuple[str, ...]]] = {
    "lenet": (lenet, {"shape": (1, 6, 6)}, ("flat", "stacked")),
    "groups": (convolutions, {"shape": (1, 8, 8)}, ("flat", "stacked")),
    "residual": (Residual, {}, ("flat", "stacked")),
    "dropout": (dropping, {}, ("flat", "stacked")),
    "norms": (normed, {"shape": (1, 6, 6)}, ("flat", "stacked")),
    "branches": (Branches, {}, ("flat",)),
    "recurrent": (Recurrent, {"shape": (6,), "tokens": True}, ("flat",)),
    "embedded": (SEQUENCES["embedded"], {"shape": (6,), "tokens": True}, ("flat", "stacked")),
    "transformer": (SEQUENCES["transformer"], {"shape": (6,), "tokens": True}, ("flat", "stacked")),
    "numbers": (lambda: models.mlp(8, (6,), 1), {"classes": None, "loss": "mse"}, ("flat", "stacked")),
    "own loss": (lambda: models.mlp(8, (6,), 5), {"loss": lambda o, y: nn.functional.cross_entropy(o, y)}, ("flat",)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model(kind: str) -> None:
    model, options, engines = KINDS[kind]
    task, local = task_of(model, **options), private(learning_rate=0.05)
    reference = three_rounds(task, "loop", LocalMethod(), local)
    for engine in ("flat", "stacked"):
        assert (ENGINES[engine].refusal(task, LocalMethod(), local) is None) == (engine in engines), engine
        if engine in engines:
            assert distance(task, reference, three_rounds(task, engine, LocalMethod(), local)) < 1e-3, engine


def test_modules_at_random() -> None:
    """Engines that a run would take give what the reference gives, whatever the module."""
    taken = 0
    for seed in range(20_000, 20_006):
        one = case(seed, odd=0.15)
        one = replace(one, local=one.local.model_copy(update={"privacy": QUIET, "clip_norm": None}))
        if ENGINES["loop"].refusal(one.task, one.method, one.local) is not None:
            continue
        for engine in ("flat", "stacked"):
            if refusal_of(one, engine) is None:
                taken += 1
                assert difference(one, engine) is None, f"{engine} differs: {one.text}"
    assert taken >= 3


@pytest.mark.parametrize("kind", ["lenet", "groups", "residual", "norms", "embedded", "transformer"])
def test_ghost_norms_are_those_of_the_gradients(kind: str) -> None:
    """Norms and weighted sums without any example's gradient, against these gradients, for two devices."""
    model, options, _ = KINDS[kind]
    task, generator = task_of(model, **options), torch.Generator().manual_seed(1)
    graph = Graph.of(task, False)
    assert graph is not None
    entries = task.layout.trainable
    weights = [0.3 * torch.randn(2, *entry.shape, generator=generator) for entry in entries]
    x = torch.stack([task.inputs(task.data.at(client).array[:3]) for client in (0, 1)])
    graph.begin([0, 1], weights, {})
    outputs, _ = graph.forward(weights, x)
    slopes, factors = torch.randn(outputs.shape, generator=generator), torch.rand(2, 3, generator=generator)
    ghosts = GhostNorms(weights, 3)
    graph.backward(slopes, None, ghosts)
    sums = [torch.zeros_like(weight) for weight in weights]
    for place in range(3):
        own, collect = slice(place, place + 1), Collect(len(weights))
        graph.forward(weights, x[:, own])
        graph.backward(slopes[:, own], None, collect)
        gradients = collect.taken()
        squares = torch.stack([flat(gradient).square().sum(1) for gradient in gradients]).sum(0)
        torch.testing.assert_close(ghosts.squares[:, place], squares, rtol=1e-3, atol=1e-5)
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient * factors[:, place].view(2, *[1] * (gradient.ndim - 1))
    for ours, theirs in zip(ghosts.sums(factors), sums, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_what_is_not_finite_counts_nothing(engine: str) -> None:
    task = task_of(sizes=(13,))
    local = private(batch_size=None, steps=1, privacy=ExamplePrivacy(clip=0.5, noise=0.0))
    spoil(task, 0, lambda examples: examples.array.__setitem__(slice(3, 5), np.nan))
    moved = once(task, engine, local)
    left = [place for place in range(13) if place not in (3, 4)]
    rest = from_arrays("rest", task.data.at(0).array[left], task.data.at(0).y[left], [np.arange(11)], classes=5)
    # As many are expected as the device has: the sum is of fewer.
    np.testing.assert_allclose(moved, once(task.on(rest), engine, local) * 11 / 13, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_a_secret_decides_and_not_the_seed(engine: str) -> None:
    task, local, one = task_of(sizes=(20,)), private(), fresh_secret()
    moved = once(task, engine, local, secret=one)
    np.testing.assert_array_equal(moved, once(task, engine, local, secret=one, seed=6))
    assert np.linalg.norm(moved - once(task, engine, local, secret=fresh_secret())) > 0.1 * np.linalg.norm(moved)
    np.testing.assert_array_equal(once(task, engine, local), once(task, engine, local))


# An adversary that looks at what comes out, with and without one example.

WIDE, CLIP, NOISE, EXPECTED, RATE = 2000, 0.7, 1.3, 8, 0.5


def wide_task() -> TorchTask:
    """Examples that move nothing, but for one, which would move far."""
    x, y = np.zeros((16, WIDE), np.float32), np.zeros(16, np.float32)
    x[3], y[3] = 1.0, 1e4
    data = from_arrays("wide", x, y, [np.arange(16)])
    return TorchTask(lambda: nn.Sequential(nn.Linear(WIDE, 1, bias=False)), data, loss="mse")


def suspicion(engine: str) -> str | None:
    """What is less than promised, as far as it shows in many single steps of learning rate 1."""
    task, found = wide_task(), list[tuple[float, float]]()
    privacy = ExamplePrivacy(clip=CLIP, noise=NOISE)
    local = LocalTraining(learning_rate=1.0, batch_size=EXPECTED, steps=1, privacy=privacy)
    towards = np.full(WIDE, WIDE**-0.5)
    built, first = task.build(engine, LocalMethod(), local), task.initial(0)
    jobs = [ClientJob(0, 0.0 * first.vector, first.counters, 1, 1.0, seed) for seed in range(256)]
    for done in [trained for job in jobs for trained in built.train([job])]:
        assert done.failure is None
        moved = done.end.astype(np.float64) * EXPECTED
        along = float(moved @ towards)
        found.append((along, float(np.std(moved - along * towards))))
    along, spread = np.array(found).T
    if spread.mean() < 0.99 * NOISE * CLIP:
        return "too little noise"
    # In a sample or not: the mean is the rate times the clip, give or take four standard deviations.
    apart = math.hypot(NOISE * CLIP, CLIP * math.sqrt(RATE * (1.0 - RATE))) / math.sqrt(len(along))
    if along.mean() > RATE * CLIP + 4.0 * apart:
        return "one example moves more than it may"
    return None


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_promises_are_kept(engine: str) -> None:
    assert suspicion(engine) is None


@pytest.mark.parametrize("broken", ["noise", "clip", "twice"])
def test_broken_promises_show(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "noise":
        add = draws.add_normal
        monkeypatch.setattr(draws, "add_normal", lambda source, x, deviation, grid: add(source, x, deviation / 2, grid))
    elif broken == "clip":
        monkeypatch.setattr(by_example, "clip_factors", lambda squares, norm: torch.ones_like(squares))
    else:
        sample = draws.poisson_sample
        monkeypatch.setattr(draws, "poisson_sample", lambda *given: np.repeat(sample(*given), 2))
    assert suspicion("stacked") == ("too little noise" if broken == "noise" else "one example moves more than it may")


# What is refused, and what is told to accountants.


class Attending(nn.Module):
    """Every example sees the others of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.softmax(x @ x.T, -1) @ x)


class Tallying(nn.Module):
    """A buffer that adds up its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 5)
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += x.detach().sum(0)
        return self.head(x)


class Alone(LocalMethod):
    def local_round(self, device):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("model", "method", "local", "said"),
    [
        (batch_norm, LocalMethod, {"smallest_batch": 2}, r"layer '1' \(BatchNorm1d\) mixes the examples"),
        (Attending, LocalMethod, {}, "depends on the others of its batch"),
        (Tallying, LocalMethod, {}, "buffer 'seen' takes up"),
        (lambda: nn.Linear(8, 5), Alone, {}, "local_round"),
        (lambda: nn.Linear(8, 5), Sharp, {}, "perturb"),
        (lambda: nn.Linear(8, 5), LocalMethod, {"clip_norm": 1.0}, "leave local.clip_norm out"),
    ],
)
def test_what_goes_past_the_clip_is_refused(
    model: Callable[[], nn.Module], method: type[LocalMethod], local: dict[str, Any], said: str
) -> None:
    task = task_of(model)
    for engine in ENGINE_NAMES:
        with pytest.raises(ValueError, match=said):
            task.build(engine, method(), private(**local))


def test_hooks_on_losses_see_one_example_at_a_time() -> None:
    seen: list[int] = []

    class Looking(Contrastive):
        def adjust_loss(self, loss, batch, device):
            seen.append(len(batch.targets))
            return super().adjust_loss(loss, batch, device)

    for engine in ("loop", "flat"):
        three_rounds(task_of(sizes=(9, 7)), engine, Looking(), private())
    assert set(seen) == {1}


def test_an_engine_that_does_not_clip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINES["flat"], "clips_examples", False)
    with pytest.raises(ValueError, match="cannot clip the gradient of each example"):
        task_of().build("flat", LocalMethod(), private())


@pytest.mark.parametrize(
    ("batch_size", "event"),
    [
        (10, Repeated(Sampled(0.2, Gaussian(1.5)), 30)),
        (None, Repeated(Gaussian(1.5), 30)),
        (64, Repeated(Gaussian(1.5), 30)),
    ],
)
def test_events(batch_size: int | None, event: Repeated) -> None:
    assert event_of(ExamplePrivacy(clip=2.0, noise=1.5), 50, batch_size, 30) == event

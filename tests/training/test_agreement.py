"""Every engine gives what the reference gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fogline.training import LocalMethod, LocalTraining
from fogline.training.torch import TorchTask, models
from fogline.training.torch.engines import Stacked
from fogline.training.torch.outputs.losses import IGNORED
from tests.training.cohorts import (
    METHODS,
    Contrastive,
    Everything,
    Normed,
    Proximal,
    Sharp,
    Weighted,
    distance,
    jobs_of,
    spoil,
    task_of,
    three_rounds,
)

FAST = ("flat", "stacked")
TOLERANCE = 1e-4

SETTINGS = {
    "plain": LocalTraining(learning_rate=0.1, batch_size=4),
    "decay": LocalTraining(learning_rate=0.1, batch_size=4, weight_decay=0.05, epochs=2),
    "momentum": LocalTraining(learning_rate=0.05, batch_size=4, momentum=0.9, weight_decay=0.01),
    "nesterov": LocalTraining(learning_rate=0.05, batch_size=8, momentum=0.9, nesterov=True),
    "clip": LocalTraining(learning_rate=0.2, batch_size=4, clip_norm=0.7),
    "whole": LocalTraining(learning_rate=0.2, batch_size=None, epochs=3),
    "steps": LocalTraining(learning_rate=0.1, batch_size=6, steps=7),
    "adam": LocalTraining(learning_rate=0.01, batch_size=4, optimizer="adam", weight_decay=0.01),
    "adamw": LocalTraining(learning_rate=0.01, batch_size=4, optimizer="adamw", weight_decay=0.1),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("setting", ["plain", "decay", "momentum", "clip"])
def test_every_hook(method: type[LocalMethod], setting: str) -> None:
    task, local = task_of(), SETTINGS[setting]
    reference = three_rounds(task, "loop", method(), local)
    for engine in FAST:
        done = three_rounds(task, engine, method(), local)
        assert distance(task, reference, done) < TOLERANCE, engine
        np.testing.assert_allclose([t.loss for t in done], [t.loss for t in reference], rtol=1e-4)
        np.testing.assert_allclose([t.loss_rms for t in done], [t.loss_rms for t in reference], rtol=1e-4)
        assert [(t.client, t.samples, t.steps) for t in done] == [(t.client, t.samples, t.steps) for t in reference]


def assert_engines_agree(task: TorchTask, method: type[LocalMethod], local: LocalTraining) -> None:
    """The fast engines end where the reference does."""
    reference = three_rounds(task, "loop", method(), local)
    for engine in FAST:
        assert distance(task, reference, three_rounds(task, engine, method(), local)) < TOLERANCE, engine


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        (LocalMethod, "decay"), (Proximal, "plain"), (Normed, "nesterov"), (Sharp, "clip"), (Everything, "momentum"),
        (LocalMethod, "adam"), (Contrastive, "adamw"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("known", [True, False], ids=["kernels", "autograd"])
def test_only_what_is_named_trains(method: type[LocalMethod], setting: str, known: bool) -> None:
    """The rest stays to the bit, whatever would move it: decay, momentum, a hook."""
    task, local = task_of() if known else task_of(Branches), SETTINGS[setting]
    names = [entry.name for entry in task.spec.entries]
    only = frozenset(names[2:4])
    jobs = [replace(job, only=only) for job in jobs_of(task, local)]
    reference = task.build("loop", method(), local).train(jobs)
    for engine in FAST:
        done = task.build(engine, method(), local).train(jobs)
        assert distance(task, reference, done) < TOLERANCE, engine
        for trained in (*reference, *done):
            moved = trained.end != jobs[0].start
            assert {name for name in names if moved[task.spec.slices[name]].any()} == only


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting(setting: str) -> None:
    assert_engines_agree(task_of(), LocalMethod, SETTINGS[setting])


class Branches(nn.Module):
    """Not for kernels: a weight used twice, and one that multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.ones(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x)) + self.scale * x
        return self.head(torch.relu(self.first(hidden)))


class Broadcast(nn.Module):
    """Not for kernels: a sum of different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 6), nn.Linear(8, 1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(x) + self.second(x)))


class InPlace(nn.Module):
    """Not for kernels: a value that changes before its second reader."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        return self.head(nn.functional.relu(hidden, inplace=True) + hidden)


class Block(nn.Module):
    """Not for kernels: convolutions with batch normalisation, a shortcut past them, and what is written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.body = nn.Sequential(
            nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        )
        self.short, self.head = nn.Conv2d(4, 6, 1, stride=2), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = nn.functional.relu(self.body(x.clone()) + self.short(x), inplace=True)
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Encoder(nn.Module):
    """Not for kernels: PyTorch's own transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 8), nn.Linear(8, 5)
        self.places = nn.Parameter(torch.zeros(1, 6, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.embedding(tokens) + self.places))


class States(nn.Module):
    """Not for kernels, nor for vmap: the last states of a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(5, 4), nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        outputs, (last, _) = self.lstm(self.embedding(tokens))
        return self.head(outputs + last[0].unsqueeze(1))


class Residual(nn.Module):
    """Values that are read more than once, by sums and by layers, in place and not, before weights and after."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8, bias=False)
        self.third = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        early = x + torch.tanh(x)
        hidden = torch.relu(self.first(early)) + x
        more = torch.add(torch.tanh(hidden), self.second(hidden))
        more += hidden
        wide = self.third(more) + torch.sigmoid(more) + hidden
        return self.head(nn.functional.relu(wide + early, inplace=True))


class Functional(nn.Module):
    """A chain that is written out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4 * 3 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.head(torch.flatten(x, 1))


def activations() -> nn.Module:
    layers = (nn.Linear(8, 9), nn.Tanh(), nn.Sigmoid(), nn.Linear(9, 9, bias=False), nn.GELU(), nn.Identity())
    return nn.Sequential(nn.Sequential(*layers), nn.ReLU(), nn.ReLU(), nn.Linear(9, 5))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=1, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, groups=2, bias=False),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))


def embedded() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5))


def normed() -> nn.Module:
    """Normalisation with all, some and none of its weights, over images and over vectors."""
    bare = nn.LayerNorm(6, elementwise_affine=False)
    return nn.Sequential(
        nn.LayerNorm(6), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LayerNorm(32, bias=False), nn.Linear(32, 6), bare,
        nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 5)
    )  # fmt: skip


class Recurrent(nn.Module):
    """Two layers without biases; the states are not asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.lstm = nn.LSTM(4, 7, 2, bias=False, batch_first=True)
        self.head = nn.Linear(7, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.relu(self.lstm(self.embedding(tokens))[0]))


MODELS = {
    "residual": (Residual, {}, True),
    "normed": (normed, {"shape": (1, 6, 6)}, True),
    "broadcast": (Broadcast, {}, False),
    "in place": (InPlace, {}, False),
    "branches": (Branches, {}, False),
    "activations": (activations, {}, True),
    "convolutions": (convolutions, {"shape": (1, 8, 8)}, True),
    "odd sides": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 2), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5)),
        {"shape": (1, 6, 6)},
        True,
    ),
    "functional": (Functional, {"shape": (1, 8, 8)}, True),
    "batch norm": (batch_norm, {"sizes": (12, 20, 12, 8)}, False),
    "block": (Block, {"shape": (1, 6, 6), "sizes": (12, 20, 12, 8)}, False),
    "encoder": (Encoder, {"shape": (6,), "tokens": True}, False),
    "embedded": (embedded, {"shape": (6,), "tokens": True}, True),
    "lstm": (lambda: models.char_lstm(5, 4, 6), {"shape": (6,), "tokens": True}, True),
    "recurrent": (Recurrent, {"shape": (6,), "tokens": True}, True),
    "transformer": (lambda: models.small_transformer(5, 8, 2, 2, 9), {"shape": (6,), "tokens": True}, True),
    "regression": (lambda: models.mlp(8, (6,), 1), {"classes": None, "loss": "mse"}, True),
    "absolute": (lambda: models.mlp(8, (6,), 1), {"classes": None, "loss": "l1"}, True),
    "own loss": (
        lambda: models.mlp(8, (6,), 5),
        {"loss": lambda o, y: nn.functional.multi_margin_loss(o, y) + 0.01 * (o**2).mean()},
        True,
    ),
    "double": (lambda: models.mlp(8, (6,), 5).double(), {"dtype": "float64"}, True),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", [LocalMethod, Sharp, Contrastive])
def test_every_model(name: str, method: type[LocalMethod]) -> None:
    model, options, known = MODELS[name]
    task = task_of(model, **options)
    local = LocalTraining(learning_rate=0.05, batch_size=6)
    reference = three_rounds(task, "loop", method(), local)
    for engine in FAST:
        built = task.build(engine, method(), local)
        assert (built.graph is not None) == known, engine  # type: ignore[attr-defined]
        done = three_rounds(task, engine, method(), local)
        assert distance(task, reference, done) < TOLERANCE, engine
        assert [t.counters.tolist() for t in done] == [t.counters.tolist() for t in reference]


def test_all_hooks_with_convolutions() -> None:
    assert_engines_agree(task_of(convolutions, shape=(1, 8, 8)), Everything, SETTINGS["momentum"])


def test_what_no_kernel_knows_is_left_to_autograd() -> None:
    task, local = task_of(States, shape=(6,), tokens=True), LocalTraining(learning_rate=0.05, batch_size=6)
    reason = Stacked.refuses(task, LocalMethod(), local)
    assert reason
    assert "vmap" in reason
    reference = three_rounds(task, "loop", LocalMethod(), local)
    assert distance(task, reference, three_rounds(task, "flat", LocalMethod(), local)) < TOLERANCE


SEQUENCES = {
    "embedded": embedded,
    "lstm": lambda: models.char_lstm(5, 4, 6, 2),
    "transformer": lambda: models.small_transformer(5, 8, 2, 2, 6),
}


@pytest.mark.parametrize("name", ["lstm", "transformer"])
@pytest.mark.parametrize("method", [Proximal, Weighted, Normed])
@pytest.mark.parametrize("setting", ["decay", "momentum", "clip"])
def test_sequences_with_bent_gradients(name: str, method: type[LocalMethod], setting: str) -> None:
    assert_engines_agree(task_of(SEQUENCES[name], shape=(6,), tokens=True), method, SETTINGS[setting])


@pytest.mark.parametrize("name", SEQUENCES)
def test_targets_without_a_truth(name: str) -> None:
    task = task_of(SEQUENCES[name], shape=(6,), tokens=True)
    for client in range(len(task.data.clients)):
        spoil(task, client, lambda examples: examples.y.__setitem__((slice(None), slice(4, None)), IGNORED))
    spoil(task, 0, lambda examples: examples.y.__setitem__(1, IGNORED))
    assert (task.data.at(2).y[:, 4:] == IGNORED).all()
    assert_engines_agree(task, LocalMethod, LocalTraining(learning_rate=0.05, batch_size=6))


@pytest.mark.parametrize("engine", FAST)
def test_dropout_has_the_right_distribution(engine: str) -> None:
    model = lambda: nn.Sequential(nn.Dropout(0.25), nn.Linear(8, 5, bias=False))  # noqa: E731
    task = task_of(model, sizes=(4000,))
    local = LocalTraining(learning_rate=0.1, batch_size=None)
    ends = [three_rounds(task, name, LocalMethod(), local)[0].end for name in ("loop", engine)]
    start = task.initial(3).vector
    # One step over 4000 examples: the draws average out to a few per cent.
    assert np.linalg.norm(ends[0] - ends[1]) < 0.2 * np.linalg.norm(ends[0] - start)
    assert not np.array_equal(ends[0], ends[1])

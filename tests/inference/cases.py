"""Small tasks of every kind, and their versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
from torch import Tensor, nn

from fogline.data import Examples, Meaning, from_arrays
from fogline.inference.card import Asset
from fogline.inference.package import Package, PackageOptions, package
from fogline.params import Params
from fogline.training import Task
from fogline.training.sklearn import SklearnTask
from fogline.training.torch import TorchTask
from fogline.training.torch.models import (
    char_lstm,
    leaf_cnn,
    lenet,
    mlp,
    niid_bench_cnn,
    pfl_cnn,
    small_transformer,
)

COUNT = 40
NUMBERS = Meaning(None, None, 3.0, 40.0, "kWh")
NAMES = ("no", "maybe", "yes")


def data_of(x: Any, y: Any, classes: int | None, meaning: Meaning | None = None, test: bool = True) -> Any:
    parts = np.split(np.arange(len(x)), 2)
    examples = Examples(x, y.astype(np.int64 if classes else np.float32)) if test else None
    return from_arrays("small", x, y, parts, classes=classes, meaning=meaning, test=examples)


def images(channels: int, size: int, classes: int = 10) -> Any:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(COUNT, channels, size, size)).astype(np.float32)
    return data_of(x, rng.integers(0, classes, COUNT), classes)


def texts(length: int = 12) -> Any:
    rng = np.random.default_rng(0)
    return data_of(rng.integers(0, 80, (COUNT, length)), rng.integers(0, 80, (COUNT, length)), 80)


def tables(classes: int | None, features: int = 6, meaning: Meaning | None = None, test: bool = True) -> Any:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, COUNT) if classes else rng.normal(size=COUNT)
    x = (rng.normal(size=(COUNT, features)) + y[:, None]).astype(np.float32)
    return data_of(x, y, classes, meaning, test)


class Residual(nn.Module):
    """Norms with running statistics, a branch, and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 64, 10)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 1.0]).view(1, 4, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.conv(x))) * self.mask
        return self.head((hidden + x).flatten(1))


class Exiting(nn.Module):
    """Two answers, the cheap one first."""

    def __init__(self, by_name: bool = False) -> None:
        super().__init__()
        self.below, self.early, self.late, self.by_name = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3), by_name

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.below(x))
        first, last = self.early(hidden), self.late(torch.tanh(hidden))
        return {"cheap": first, "dear": last} if self.by_name else (first, last)


TORCH: dict[str, Callable[[], TorchTask]] = {
    "mlp": lambda: TorchTask(lambda: mlp(64, (16,)), images(1, 8)),
    "softmax": lambda: TorchTask(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3, bias=False), nn.Softmax(-1)),
        tables(3, meaning=Meaning(3, NAMES)),
    ),
    "sigmoid": lambda: TorchTask(
        lambda: nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()), tables(None, meaning=NUMBERS), "mse"
    ),
    "regression": lambda: TorchTask(lambda: mlp(6, (16,), 1), tables(None, meaning=NUMBERS), "mse"),
    "residual": lambda: TorchTask(Residual, images(1, 8)),
    "lenet": lambda: TorchTask(lenet, images(1, 28)),
    "niid_bench_cnn": lambda: TorchTask(niid_bench_cnn, images(3, 32)),
    "leaf_cnn": lambda: TorchTask(lambda: leaf_cnn(10, 32), images(1, 28)),
    "pfl_cnn": lambda: TorchTask(lambda: pfl_cnn(3, 16), images(3, 16)),
    "char_lstm": lambda: TorchTask(lambda: char_lstm(layers=2, hidden=16), texts()),
    "small_transformer": lambda: TorchTask(lambda: small_transformer(blocks=2, width=16), texts()),
    "wide": lambda: TorchTask(lambda: mlp(6, (5,), 3).double(), tables(3)),
}
SKLEARN: dict[str, Callable[[], SklearnTask]] = {
    "logistic": lambda: SklearnTask(SGDClassifier(loss="log_loss"), tables(3)),
    "pair": lambda: SklearnTask(SGDClassifier(loss="log_loss"), tables(2)),
    "pictures": lambda: SklearnTask(Perceptron(), images(1, 8)),
    "line": lambda: SklearnTask(SGDRegressor(), tables(None, meaning=NUMBERS)),
}
TASKS: dict[str, Callable[[], Task]] = {**TORCH, **SKLEARN}


def trained(task: Task, seed: int = 0) -> Params:
    """Weights that are anything but their initial values, running statistics included."""
    params, rng = task.initial(seed), np.random.default_rng(seed)
    for name, array in params.arrays().items():
        noise = 0.1 * rng.normal(size=array.shape)
        array += (np.abs(noise) if name.endswith("running_var") else noise).astype(array.dtype)
    return params


def right_answer(task: Task, params: Params, x: Any) -> Any:
    """What the framework itself gives, in people's units."""
    if isinstance(task, TorchTask):
        module = task.untrained().eval()
        task.layout.load(module, params.vector, params.counters)
        with torch.no_grad():
            given = module(task.inputs(x)).numpy()
    else:
        assert isinstance(task, SklearnTask)
        estimator = task.fresh(0.01, 0)
        task.load(estimator, params.vector)
        rows = task.inputs(x)
        given = estimator.decision_function(rows) if task.classifies else estimator.predict(rows)[:, None]
        if task.classifies and given.ndim == 1:
            given = np.stack([np.zeros(len(x)), given], 1)
    meaning = task.data.meaning
    return given if task.classifies else given * meaning.target_scale + meaning.target_offset


def made(task: Task, folder: Path, **options: Any) -> Package:
    return package(task, trained(task), folder, "model", PackageOptions(**options))


def finder(version: Package) -> Callable[[Asset], Path]:
    return lambda asset: version.files[asset.digest]

"""What early exit spares on one node: a model of two exits, in stages and as a whole."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cascade.models import Images, cloud_model, trained
from benchmarks.common import console, median
from fogline.data import Examples, Meaning, from_arrays
from fogline.inference.exits import EarlyExit, UnfittedExits
from fogline.inference.package import Package, PackageOptions, package
from fogline.inference.runtimes.base import Array, Locate, Runtime
from fogline.inference.runtimes.choose import open_runtime
from fogline.params import Params
from fogline.training.torch import TorchTask

TURNS, TIMED = 7, 400
"""Turns of each, and images that each answers in a turn, one by one."""


class TwoExits(nn.Module):
    """The cloud's model, with an exit behind its first block."""

    def __init__(self) -> None:
        super().__init__()
        layers = list(cloud_model())
        self.stem, self.rest = nn.Sequential(*layers[:4]), nn.Sequential(*layers[4:])
        self.exit = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 7 * 7, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.stem(x)
        return self.exit(low), self.rest(low)


def joint(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Both exits are trained together."""
    return sum((nn.functional.cross_entropy(one, targets) for one in outputs), torch.zeros(())) / len(outputs)


def measured(training: Images, known: Images, test: Images, epochs: int) -> dict[str, Any]:
    """Accuracy on the test images and time of an image, for targets on the images that were kept back.

    Each target is a share of the last exit's accuracy there.
    """
    console.print("two exits")
    module = trained(TwoExits(), training, epochs, 6e-3, loss=joint)
    x = _scaled(known)
    data = from_arrays(
        "fashion", x, known.y, [np.arange(len(x))], classes=10, meaning=Meaning(10), test=Examples(x, known.y)
    )
    task = TorchTask(TwoExits, data)
    params = task.layout.read(module)
    return {f"{share:g}": _with_target(task, params, test, share) for share in (1.0, 0.99)}


def _with_target(task: TorchTask, params: Params, test: Images, share: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        names = ("early", "late")
        options = PackageOptions(outputs=names, exits=UnfittedExits(names))
        whole = package(task, params, Path(folder), "exits", options)
        goal = share * whole.card.metrics["accuracy"]
    with tempfile.TemporaryDirectory() as folder:
        wanted = UnfittedExits(("early", "late"), goal)
        options = PackageOptions(outputs=wanted.outputs, exits=wanted)
        return _compared(package(task, params, Path(folder), "exits", options), test)


def _compared(version: Package, test: Images) -> dict[str, Any]:
    """In stages, against the whole model with the same thresholds, and against the last exit for every image."""
    card, x = version.card, _scaled(test)
    if version.notes:
        raise RuntimeError(" ".join(version.notes))
    assert card.exits is not None
    assert card.scores is not None
    whole = _runtime(version, "onnx")
    staged = EarlyExit(card.exits, card.scores, _runtime(version, "staged"))
    answers, late = staged({"input": x})["late"], whole.run({"input": x})["late"]
    left = list(staged.left)
    times = _times({"staged": staged, "whole": EarlyExit(card.exits, card.scores, whole), "bare": whole.run}, x)
    return {
        "threshold": round(card.exits.thresholds[0], 4),
        "accuracy": round(float((answers.argmax(1) == test.y).mean()), 4),
        "accuracy_last_exit": round(float((late.argmax(1) == test.y).mean()), 4),
        "left_early": round(left[0] / len(x), 4),
        "us_per_image": {name: round(median(one), 1) for name, one in times.items()},
        "staged_over_whole": round(median(times["staged"]) / median(times["whole"]), 3),
        "chosen_here": open_runtime(card, _finder(version)).runtime.name,
        "stage_bytes": [asset.size for asset in card.exits.stages],
    }


def _runtime(version: Package, name: str) -> Runtime:
    return open_runtime(version.card, _finder(version), only=name).runtime


def _finder(version: Package) -> Locate:
    return lambda asset: version.files[asset.digest]


def _times(kinds: dict[str, Any], x: Array) -> dict[str, list[float]]:
    """Microseconds of an image, in turns."""
    rows = [x[i : i + 1] for i in range(TIMED)]
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(TURNS):
        for name, run in kinds.items():
            began = time.perf_counter()
            for row in rows:
                run({"input": row})
            times[name].append((time.perf_counter() - began) / len(rows) * 1e6)
    return times


def _scaled(data: Images) -> Array:
    return (data.x / 255).astype(np.float32)

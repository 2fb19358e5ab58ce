"""On a GPU every engine gives what the reference gives there, and the reference what it gives on a processor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fogline
from fogline.training import LocalMethod, LocalTraining, autotune
from fogline.training.torch import TorchTask, models
from tests.training.cohorts import METHODS, distance, jobs_of, spoil, task_of, three_rounds

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that CUDA knows")

FAST = ("flat", "stacked")
PLAIN = LocalTraining(learning_rate=0.1, batch_size=4)
ADAM = LocalTraining(learning_rate=0.01, batch_size=4, optimizer="adam", clip_norm=1.0)
MOMENTUM = LocalTraining(learning_rate=0.05, batch_size=4, momentum=0.9, weight_decay=0.01)


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


KINDS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "mlp": (lambda: models.mlp(8, (16, 12), 5), {}),
    "lenet": (models.lenet, {"shape": (1, 28, 28), "classes": 10}),
    "batch statistics": (normed, {"shape": (1, 8, 8), "sizes": (12, 8, 9)}),
    "transformer": (lambda: models.small_transformer(12), {"shape": (9,), "classes": 12, "tokens": True}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("local", [PLAIN, MOMENTUM], ids=["plain", "momentum"])
def test_engines_agree(kind: str, local: LocalTraining) -> None:
    model, about = KINDS[kind]
    agree(task_of(model, device="cuda", **about), local)


def test_adam_agrees() -> None:
    agree(task_of(device="cuda"), ADAM)


def agree(task: TorchTask, local: LocalTraining, method: type[LocalMethod] = LocalMethod) -> None:
    with task.exact_arithmetic():
        reference = three_rounds(task, "loop", method(), local)
        for engine in FAST:
            assert distance(task, reference, three_rounds(task, engine, method(), local)) < 1e-4, engine


@pytest.mark.parametrize("kind", KINDS)
def test_as_on_a_processor(kind: str) -> None:
    model, about = KINDS[kind]
    here, there = task_of(model, **about), task_of(model, device="cuda", **about)
    reference = three_rounds(here, "loop", LocalMethod(), PLAIN)
    assert distance(here, reference, three_rounds(there, "loop", LocalMethod(), PLAIN)) < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_every_hook(method: type[LocalMethod]) -> None:
    agree(task_of(device="cuda"), PLAIN, method)


@pytest.mark.parametrize("engine", FAST)
def test_an_engine_is_held_against_the_reference_there(engine: str) -> None:
    task = task_of(device="cuda")
    assert autotune(task, LocalMethod(), PLAIN, jobs_of(task, PLAIN), engine=engine, chunk=3).engine == engine


def test_a_recurrent_model_trains_device_by_device() -> None:
    about: dict[str, Any] = {"shape": (9,), "classes": 12, "tokens": True}
    task = task_of(lambda: models.char_lstm(12), device="cuda", **about)
    with pytest.raises(ValueError, match="without a stacked kernel"):
        task.build("stacked", LocalMethod(), PLAIN)
    here = task_of(lambda: models.char_lstm(12), **about)
    reference = three_rounds(here, "loop", LocalMethod(), PLAIN)
    with task.exact_arithmetic():
        for engine in ("loop", "flat"):
            assert distance(here, reference, three_rounds(task, engine, LocalMethod(), PLAIN)) < 1e-3, engine


def test_a_whole_run() -> None:
    """Windows of equal numbers, where rounding to fewer bits would choose others."""
    model, about = KINDS["lenet"]
    ends: list[Any] = []
    for device, engine in [("cpu", "loop"), ("cuda", "loop"), ("cuda", "stacked"), ("cuda", None)]:
        run = fogline.simulate(
            task_of(model, device=device, **about),
            rounds=3,
            local={"learning_rate": 0.1, "batch_size": 4},
            engine=engine,
            name="cuda",
            progress=False,
        )
        ends.append(run.params.vector)
    start = task_of(model, **about).initial(0).vector
    for end in ends[1:]:
        assert np.linalg.norm(end - ends[0]) < 1e-3 * np.linalg.norm(ends[0] - start)


def test_workers_are_refused() -> None:
    with pytest.raises(fogline.JobError, match="A GPU trains for all devices in the main process"):
        fogline.simulate(task_of(device="cuda"), rounds=1, processes=2, name="cuda", progress=False)


def test_workers_are_refused_after_a_gpu_was_used() -> None:
    fogline.simulate(task_of(device="cuda"), rounds=1, name="cuda", progress=False)
    fogline.simulate(task_of(), rounds=1, name="processor", progress=False)
    with pytest.raises(fogline.JobError, match="has used a GPU"):
        fogline.simulate(task_of(), rounds=1, processes=2, name="processor", progress=False)


def test_labels_that_no_output_has_fail_that_device_only() -> None:
    task = task_of(device="cuda")
    spoil(task, 1, lambda examples: examples.y.fill(77))
    run = fogline.simulate(task, rounds=2, local={"learning_rate": 0.1, "batch_size": 4}, name="cuda", progress=False)
    assert run.history[-1]["devices"] == 4


class Elsewhere(nn.Module):
    """Reads where there is nothing, which ends all that a process can do on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(4, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        place = 9 if len(x) == 4 else 0  # Not where the model is tried on two examples.
        return self.head(self.table((x[:, 0] * 0).long() + place))


def test_a_gpu_that_is_lost_ends_the_run() -> None:
    """In a process of its own, which cannot use the GPU again."""
    program = """
import fogline, pytest
from tests.training.cohorts import task_of
from tests.training.test_cuda import Elsewhere
try:
    fogline.simulate(
        task_of(Elsewhere, device="cuda"), rounds=2, local={"batch_size": 4}, engine="loop", name="cuda", progress=False
    )
except Exception as error:
    print(type(error).__name__, str(error)[:300])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("CodeError"), done.stdout + done.stderr

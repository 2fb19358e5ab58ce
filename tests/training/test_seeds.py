"""What a module holds outside its state is the same for trainer, judge and server; what is not, is named."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fogline
from fogline.data import Examples, from_clients
from fogline.jobs import Job
from fogline.jobs.loading import load_task
from fogline.randomness import derived, fingerprint, seeded
from fogline.training import LocalMethod, LocalTraining
from fogline.training.torch.checking.outside import differences
from tests.training.cohorts import FEATURES, jobs_of, task_of


class Features(nn.Module):
    """Random features, in the state or outside it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        drawn = torch.randn(6, 16) + float(np.random.rand()) + random.random()
        self.head = nn.Linear(16, 3)
        if how == "attribute":
            self.drawn = drawn
        elif how == "array":
            self.kept = {"drawn": [drawn.numpy()]}
        else:
            self.register_buffer("drawn", drawn, persistent=how == "persistent")

    def forward(self, x: Tensor) -> Tensor:
        drawn = self.drawn if hasattr(self, "drawn") else torch.from_numpy(self.kept["drawn"][0])
        return self.head(torch.cos(0.5 * x @ drawn))


def client(number: int, count: int = 30) -> Examples:
    rng = np.random.default_rng(number)
    x = rng.normal(size=(count, 6)).astype(np.float32)
    return Examples(x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 1))


def run(how: str, engine: str, processes: int, seed: int = 3) -> fogline.Result:
    data = from_clients("d", {f"c{i}": client(i) for i in range(3)}, classes=3, test=client(9, 60))
    task = fogline.Task(lambda: Features(how), data)
    settings = {"rounds": 3, "seed": seed, "processes": processes, "progress": False, "engine": engine, "chunk": 2}
    return fogline.simulate(task, **settings, evaluation={"where": "both", "every": 3})


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
@pytest.mark.parametrize("how", ["non-persistent", "attribute", "array"])
def test_tensors_outside_the_state_are_as_good_as_those_in_it(how: str, engine: str) -> None:
    expected = run("persistent", engine, 0)
    for processes, caller in ((0, 1), (2, 2)):
        torch.manual_seed(caller)
        np.random.seed(caller)
        random.seed(caller)
        before = fingerprint()
        result = run(how, engine, processes)
        assert fingerprint() == before, "what the program draws was not touched"
        assert result.metrics == pytest.approx(expected.metrics, rel=1e-5)
        assert result.devices is not None
        assert expected.devices is not None
        assert result.devices.mean == pytest.approx(expected.devices.mean)
    assert run(how, engine, 0, seed=4).metrics != result.metrics


def test_the_task_judges_on_as_the_run_did() -> None:
    data = from_clients("d", {"c": client(0)}, classes=3, test=client(9))
    task = fogline.Task(lambda: Features("attribute"), data)
    for seed in (5, 6):
        result = fogline.simulate(task, rounds=1, seed=seed, processes=0, progress=False, engine="loop")
        assert task.seed == seed
        assert task.metrics(task.evaluate(result.params, client(9))) == pytest.approx(result.metrics)
        assert torch.equal(task.untrained().drawn, task.untrained().drawn)


class Odd(nn.Module):
    """Holds something outside its state."""

    def __init__(self, what: Callable[[], Any]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 3))
        self.layers[0].extra = what()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Box:
    """Holds an array."""

    def __init__(self, value: Any) -> None:
        self.value = value


UNSEEDED: dict[str, tuple[Callable[[], Any], str]] = {
    "bytes of the system": (lambda: torch.tensor(list(os.urandom(4))), "layers.0.extra"),
    "an array": (lambda: np.random.default_rng().random(3), "layers.0.extra"),
    "a generator": (np.random.default_rng, "layers.0.extra"),
    "python's generator": (lambda: random.Random(), "layers.0.extra"),
    "a number": (lambda: random.SystemRandom().random(), "layers.0.extra"),
    "in a list": (lambda: [1, {"a": np.random.default_rng().random(2)}], "layers.0.extra[1]['a']"),
    "in an object": (lambda: Box(np.random.default_rng().random(2)), "layers.0.extra.value"),
    "in a module that is in a list": (
        lambda: [Odd(lambda: np.random.default_rng().random())],
        "extra[0].layers.0.extra",
    ),
}


@pytest.mark.parametrize("what", UNSEEDED)
def test_what_no_seed_reaches_is_named_before_the_run(what: str) -> None:
    make, path = UNSEEDED[what]
    data = from_clients("d", {"c": client(0)}, classes=3)
    with pytest.raises(fogline.JobError, match="differs each time it is made") as caught:
        fogline.simulate(fogline.Task(lambda: Odd(make), data), rounds=1, processes=0, progress=False)
    assert f"{path};" in str(caught.value)


@pytest.mark.parametrize(
    "what",
    [
        lambda: torch.randn(3),
        lambda: np.random.default_rng(1),
        lambda: {"a": float("nan"), "b": [np.array([np.nan])]},
        lambda: object(),
        lambda: torch.empty(0),
    ],
)
def test_what_a_seed_reaches_is_no_difference(what: Callable[[], Any]) -> None:
    def made() -> nn.Module:
        with seeded(3):
            return Odd(what)

    assert differences(made(), made()) == []


@pytest.mark.parametrize("engine", ["loop", "flat"])
def test_forward_draws_from_all_generators_by_the_seed(engine: str) -> None:
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(FEATURES, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + 0.1 * torch.rand(1) + float(np.random.rand()) + random.random())

    local = LocalTraining(batch_size=4)
    task = task_of(Noise, sizes=(8,))
    ends: list[bytes] = []
    for caller in (1, 2):
        np.random.seed(caller)
        random.seed(caller)
        torch.manual_seed(caller)
        before = fingerprint()
        ends.append(task.build(engine, LocalMethod(), local).train(jobs_of(task, local))[0].end.tobytes())
        assert fingerprint() == before
        ends.append(str(task.evaluate(task.initial(0), task.data.at(0))).encode())
    assert ends[:2] == ends[2:]


FILE = """
import random
import numpy as np
import torch
from torch import nn
from fogline import Task
from fogline.data import Examples, from_clients

DRAWN = torch.rand(1).item() + np.random.rand() + random.random()


def task():
    x = (torch.rand(8, 2) + float(np.random.rand()) + random.random() + DRAWN).numpy()
    return Task(lambda: nn.Linear(2, 2), from_clients("d", {"a": Examples(x, np.arange(8) % 2)}, classes=2))
"""
CODE = """
import sys
{first}
import random, numpy as np
from pathlib import Path
from fogline.jobs import Job
from fogline.jobs.loading import load_task
from fogline.randomness import fingerprint
random.seed({caller}); np.random.seed({caller})
task = load_task(Job(task="drawing:task", seed=7), Path(sys.argv[1]))
print(task.seed, task.data.at(0).x.tobytes().hex())
"""


def test_a_task_is_loaded_under_the_job_s_seed_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "drawing.py").write_text(FILE)

    def loaded(first: str, caller: int) -> str:
        code = CODE.format(first=first, caller=caller)
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert loaded("", 1) == loaded("import torch; torch.manual_seed(5)", 2)
    before = fingerprint()
    one, other = (load_task(Job(task="drawing:task", seed=seed), tmp_path) for seed in (7, 8))
    assert fingerprint() == before
    assert f"{one.seed} {one.data.at(0).array.tobytes().hex()}\n" == loaded("", 3)
    assert not np.array_equal(one.data.at(0).x, other.data.at(0).x)


def test_seeds_of_several_numbers() -> None:
    assert derived(1, 2) == derived(1, 2) != derived(2, 1)
    with seeded(derived(1)):
        one = torch.rand(2), np.random.rand(2).tolist(), random.random()
    with seeded(derived(1)):
        other = torch.rand(2), np.random.rand(2).tolist(), random.random()
    assert torch.equal(one[0], other[0])
    assert one[1:] == other[1:]

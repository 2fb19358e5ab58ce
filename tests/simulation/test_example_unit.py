"""Jobs that protect each example: they run by name, and what would go past the noise is refused before the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import fogline
from fogline import CodeError, FedAvg, JobError
from fogline.algorithms import METHODS
from fogline.algorithms.low_rank import LowRankMethod
from fogline.algorithms.private import keeps_private
from fogline.algorithms.registry import make
from fogline.data import Examples, from_arrays
from fogline.jobs import Evaluation, Job, Local, Privacy, Tier, Tree
from fogline.jobs.protection.example_events import example_events_of
from fogline.network.worker.job_worker import JobWorker
from fogline.network.worker.requests import Open
from fogline.privacy.accounting.events import Gaussian, Repeated, Sampled
from fogline.training import ClientJob, DeviceContext, overrides
from fogline.training.torch import TorchTask

TASK_OF_NODES = """
import numpy as np
from torch import nn
from fogline import Task
from fogline.data import Examples, from_clients

rng = np.random.default_rng(0)


def client(n):
    return Examples(rng.normal(size=(n, 8)).astype(np.float32), rng.integers(0, 5, n))


def task():
    data = from_clients("d", {"a": client(23), "b": client(31)}, classes=5)
    return Task(lambda: nn.Sequential(nn.Linear(8, 5)), data)
"""
JOB_OF_NODES = """
task = "private_task_of_nodes:task"
engine = "flat"
[privacy]
unit = "example"
"""
SIZES = (12, 18, 9, 15)


def task() -> TorchTask:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(sum(SIZES), 6)).astype(np.float32), rng.integers(0, 3, sum(SIZES))
    parts = np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1])
    data = from_arrays("small", x, y, parts, classes=3, test=Examples(x[:20], y[:20]), public=Examples(x[:10], y[:10]))
    return TorchTask(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), data)


def simulate(method: Any = None, privacy: Privacy | None = None, **settings: Any) -> fogline.Result:
    given = {"rounds": 2, "processes": 0, "progress": False, **settings}
    return fogline.simulate(task(), method or FedAvg(), privacy=privacy or Privacy(unit="example", noise=0.5), **given)


def test_a_run_tells_no_losses_and_repeats() -> None:
    one, again = simulate(engine="flat"), simulate(engine="flat")
    np.testing.assert_array_equal(one.params.vector, again.params.vector)
    assert all(math.isnan(row["train_loss"]) for row in one.history)
    first, second = (row["epsilon"] for row in one.history)
    assert 0.0 < first < second
    louder = simulate(engine="flat", privacy=Privacy(unit="example", noise=50.0))
    start = task().initial(0).vector
    assert np.linalg.norm(louder.params.vector - start) > 20 * np.linalg.norm(one.params.vector - start)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_or_is_refused(name: str) -> None:
    """None looks at examples between the steps without having said so."""
    method = make(name)
    if isinstance(method, LowRankMethod):
        with pytest.raises(JobError, match="no low-rank adapters"):
            simulate(method, rounds=1, engine="loop")
    elif name == "ef21":
        with pytest.raises(JobError, match="no stage that sends changes"):
            simulate(method, rounds=1, engine="loop")
    elif method.looks_at_examples() or any(overrides(method, hook) for hook in ("perturb", "work", "local_round")):
        with pytest.raises(JobError, match=r"looks at a device's examples|\((perturb|work|local_round)\)"):
            simulate(method, rounds=1, engine="loop")
    elif name == "depthfl":
        with pytest.raises(JobError, match="gives one output"):
            simulate(method, rounds=1, engine="loop")
    elif overrides(method, "step_models"):
        with pytest.raises(JobError, match="draws a smaller model for a step"):
            simulate(method, rounds=1, engine="loop")
    elif keeps_private(method) or not method.global_model:
        with pytest.raises(JobError, match="devices cannot judge"):
            simulate(method, rounds=1, engine="loop")
    else:
        simulate(method, rounds=1, engine="loop")


def test_a_method_that_looks_without_saying_so_fails() -> None:
    class Peeking(FedAvg):
        def report(self, device):
            return super().report(device)._replace(metrics={"mean": float(device.examples.array.mean())})

    with pytest.raises(CodeError, match=r"Peeking.report.*only steps may see them"):
        simulate(Peeking(), rounds=1)


@pytest.mark.parametrize(
    ("privacy", "settings", "said"),
    [
        ({"at": "cloud"}, {}, "leave privacy.at out"),
        ({"quantile": 0.5}, {}, "leave privacy.quantile out"),
        ({}, {"evaluation": Evaluation(where="devices")}, "devices cannot judge"),
        ({}, {"queries": ("label_counts",)}, "answer no queries"),
        ({}, {"tree": Tree(cloud=Tier(policy="oort"))}, "selects by the devices' losses"),
        ({}, {"local": {"clip_norm": 1.0}}, "leave local.clip_norm out"),
    ],
)
def test_what_goes_past_the_noise_is_refused(privacy: dict[str, Any], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        simulate(privacy=Privacy(unit="example", **privacy), **settings)


def test_a_real_device_draws_what_no_seed_tells(tmp_path: Path) -> None:
    """The seed of a device's round is known to its aggregators, and decides neither samples nor noise."""
    (tmp_path / "private_task_of_nodes.py").write_text(TASK_OF_NODES)
    worker = JobWorker(Open(folder=str(tmp_path), text=JOB_OF_NODES, client="b"))
    start = worker.task.initial(0)
    job = ClientJob(worker.client, start.vector, start.counters, 4, 0.1, 7)
    done = [worker.train(job) for _ in range(2)]
    one, other = (trained.update.vectors["delta"] for trained in done if trained.update is not None)
    assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)
    assert math.isnan(done[0].loss_rms)
    with pytest.raises(ValueError, match="only steps may see them"):
        _ = DeviceContext(worker.task, job).examples


@pytest.mark.parametrize(("work", "steps"), [(None, 4), ((0.5, 1.5), 6)])
def test_what_accountants_are_told(work: tuple[float, float] | None, steps: int) -> None:
    job = Job(privacy=Privacy(unit="example", noise=2.0), local=Local(batch_size=10, work=work))
    assert example_events_of(job, 40, 3) == (Repeated(Sampled(0.25, Gaussian(2.0)), 3 * steps),)
    assert example_events_of(job, 40, 0) == ()
    with pytest.raises(JobError, match="protects no single examples"):
        example_events_of(Job(), 40, 3)

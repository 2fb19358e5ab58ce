"""Jobs that protect each example: they run by name, and what would go past the noise is refused before the run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from torch import nn

import fogline
from fogline import CodeError, FedAvg, JobError
from fogline.algorithms import METHODS
from fogline.algorithms.private import keeps_private
from fogline.algorithms.registry import make
from fogline.data import Examples, from_arrays
from fogline.jobs import Evaluation, Privacy, Tier, Tree
from fogline.training import overrides
from fogline.training.torch import TorchTask

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
    louder = simulate(engine="flat", privacy=Privacy(unit="example", noise=50.0))
    start = task().initial(0).vector
    assert np.linalg.norm(louder.params.vector - start) > 20 * np.linalg.norm(one.params.vector - start)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_or_is_refused(name: str) -> None:
    """None looks at examples between the steps without having said so."""
    method = make(name)
    if keeps_private(method) or not method.global_model:
        with pytest.raises(JobError, match="devices cannot judge"):
            simulate(method, rounds=1, engine="loop")
    elif method.looks_at_examples() or overrides(method, "perturb") or overrides(method, "work"):
        with pytest.raises(JobError, match=r"looks at a device's examples|\(perturb\)|\(work\)"):
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

"""Bad input gets one clear sentence, and a bad device never spoils the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import fogline
from fogline.data import from_arrays
from fogline.jobs import JobError, Tier, Tree
from fogline.monitoring.result import Result

CLIENTS, EACH = 6, 12


def arrays() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=CLIENTS * EACH)
    x = (np.eye(3, 8)[y] * 3 + rng.normal(size=(y.size, 8))).astype(np.float32)
    return x, y, np.split(np.arange(y.size), CLIENTS)


def linear() -> nn.Module:
    return nn.Linear(8, 3)


def task(model: Callable[[], nn.Module] = linear) -> fogline.Task:
    x, y, parts = arrays()
    return fogline.Task(model, from_arrays("small", x, y, parts, classes=3))


def simulate(what: fogline.Task, **settings: object) -> Result:
    return fogline.simulate(what, rounds=3, processes=0, progress=False, **settings)  # type: ignore[arg-type]


class Fragile(nn.Module):
    """Fails, or gives no number, on one client's data: the one whose inputs are large."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.linear, self.how = nn.Linear(8, 3), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x > 50).any()):
            if self.how == "raises":
                raise RuntimeError("sensor 4 is broken")
            return self.linear(x) * float(self.how)
        return self.linear(x)


def task_with_one_bad_client(how: str) -> fogline.Task:
    x, y, parts = arrays()
    x[parts[2]] += 100
    return fogline.Task(lambda: Fragile(how), from_arrays("small", x, y, parts, classes=3))


@pytest.mark.parametrize("how", ["nan", "inf", "raises"])
@pytest.mark.parametrize("tree", [Tree(), Tree(cloud=Tier(), fog=Tier(count=2))], ids=["star", "tree"])
def test_a_failing_device_is_counted_and_left_out(how: str, tree: Tree) -> None:
    result = simulate(task_with_one_bad_client(how), tree=tree, engine="loop", evaluation={"devices": False})
    assert result.counts["failed"] == 3
    assert "client-2" in result.reasons["failed"]
    assert np.isfinite(result.params.vector).all()
    assert not np.array_equal(result.params.vector, task().initial(0).vector)


def test_when_every_device_fails_the_run_ends_and_says_why() -> None:
    x, y, parts = arrays()
    broken = fogline.Task(lambda: Fragile("nan"), from_arrays("small", x + 100, y, parts, classes=3))
    with pytest.raises(fogline.RunError, match="No round of 3 counted") as caught:
        simulate(broken, engine="loop", evaluation={"devices": False})
    assert caught.value.mishaps.counts == {"failed": 3 * CLIENTS, "abandoned": 3}
    assert f"{3 * CLIENTS} × the loss is nan" in str(caught.value)


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_a_diverging_device_is_left_out(engine: str) -> None:
    x, y, parts = arrays()
    x[parts[1]] *= 1e30
    wild = fogline.Task(linear, from_arrays("small", x, y, parts, classes=3))
    result = simulate(wild, engine=engine, local={"learning_rate": 1.0}, evaluation={"devices": False})
    assert result.counts["failed"] >= 1
    assert np.isfinite(result.params.vector).all()


def test_a_client_with_one_example_trains() -> None:
    x, y, _ = arrays()
    data = from_arrays("small", x, y, [np.array([0]), np.arange(1, 30), np.arange(30, y.size)], classes=3)
    result = simulate(fogline.Task(linear, data))
    assert result.counts == {}
    assert result.history[-1]["updates"] == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tree": Tree(cloud=Tier(cohort=7))}, ["cohort", "7", "6"]),
        ({"tree": Tree(cloud=Tier(), fog=Tier(count=2, cohort=4))}, ["tree.fog.cohort", "4", "3"]),
        ({"tree": Tree(cloud=Tier(), fog=Tier(count=7))}, ["7", "6"]),
        ({"tree": Tree(cloud=Tier(policy="oart"))}, ["oart", "oort"]),
        ({"tree": Tree(assign="groups")}, ["groups", "small"]),
        ({"algorithm": "fedawg"}, ["fedawg", "fedavg"]),
        ({"algorithm": "fedprox", "devices": "phone"}, ["phone", "phones"]),
        ({"engine": "fast"}, ["fast", "loop"]),
        ({"local": {"learning_rte": 0.1}}, ["learning_rte", "learning_rate"]),
        ({"local": {"learning_rate": "much"}}, ["learning_rate", "much"]),
        ({"local": {"nesterov": True}}, ["momentum"]),
        ({"evaluation": {"every": 0}}, ["every", "0"]),
        ({"links": {"upp": 1}}, ["links.upp", "up"]),
    ],
)
def test_an_impossible_setting_is_one_sentence(settings: dict[str, object], words: list[str]) -> None:
    with pytest.raises(JobError) as caught:
        simulate(task(), **settings)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


def test_a_label_out_of_range_names_the_client() -> None:
    x, y, parts = arrays()
    y[parts[3][0]] = 3
    with pytest.raises(ValueError, match="client-3") as caught:
        from_arrays("small", x, y, parts, classes=3)
    assert "3" in str(caught.value)


def test_an_empty_client_is_named() -> None:
    x, y, parts = arrays()
    parts[4] = parts[4][:0]
    with pytest.raises(ValueError, match="client-4"):
        from_arrays("small", x, y, parts, classes=3)


def test_what_a_worker_process_could_not_do_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            raise KeyError("only made for training")
        return nn.functional.cross_entropy(outputs, targets)

    x, y, parts = arrays()
    wrong = fogline.Task(linear, from_arrays("small", x, y, parts, classes=3), loss=loss)
    with pytest.raises(RuntimeError, match="ended in the middle of its work"):
        fogline.simulate(wrong, rounds=1, processes=2, progress=False)
    assert "KeyError: 'only made for training'" in capfd.readouterr().err

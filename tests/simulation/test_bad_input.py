"""Bad input gets one clear sentence, and a bad device never spoils the model."""

from __future__ import annotations

import inspect
import os
import re
import signal
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import fogline
from fogline import CodeError
from fogline.algorithms import ClientUpdate, Weighted
from fogline.data import Examples, from_arrays, from_clients
from fogline.jobs import JobError, Tier, Tree
from fogline.monitoring.result import Result
from fogline.training import DeviceContext

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


class Detla(fogline.FedAvg):
    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate({"detla": Weighted(device.end - device.start, 1.0)}, {})


def test_a_vector_that_nobody_reports_is_said_of_the_report() -> None:
    said = r"Detla\.report gives 'detla', and nothing named 'delta', which server_update folds; did you mean 'delta'\?"
    with pytest.raises(CodeError, match=said + r" \(.*test_bad_input\.py, line \d+\)"):
        simulate(task(), algorithm=Detla(), engine="loop")


@pytest.mark.parametrize("how", ["nan", "inf", "raises"])
@pytest.mark.parametrize("tree", [Tree(), Tree(cloud=Tier(), fog=Tier(count=2))], ids=["star", "tree"])
def test_a_failing_device_is_counted_and_left_out(how: str, tree: Tree) -> None:
    result = simulate(task_with_one_bad_client(how), tree=tree, engine="loop")
    assert result.counts["failed"] == 3
    assert "client-2" in result.reasons["failed"]
    assert np.isfinite(result.params.vector).all()
    assert not np.array_equal(result.params.vector, task().initial(0).vector)


def test_when_every_device_fails_the_run_ends_and_says_why() -> None:
    x, y, parts = arrays()
    broken = fogline.Task(lambda: Fragile("nan"), from_arrays("small", x + 100, y, parts, classes=3))
    with pytest.raises(fogline.RunError, match="No round of 3 counted") as caught:
        simulate(broken, engine="loop")
    assert caught.value.mishaps.counts == {"failed": 3 * CLIENTS, "abandoned": 3}
    assert f"{3 * CLIENTS} × the loss is nan" in str(caught.value)


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_a_diverging_device_is_left_out(engine: str) -> None:
    x, y, parts = arrays()
    x[parts[1]] *= 1e30
    wild = fogline.Task(linear, from_arrays("small", x, y, parts, classes=3))
    result = simulate(wild, engine=engine, local={"learning_rate": 1.0})
    assert result.counts["failed"] >= 1
    assert np.isfinite(result.params.vector).all()


def test_numbers_that_are_large_and_still_numbers_fail_nobody() -> None:
    result = simulate(task(), engine="loop", local={"learning_rate": 1e4})
    assert result.counts == {}
    assert np.abs(result.params.vector).max() > 100
    assert np.isfinite(result.params.vector).all()


def test_a_client_with_one_example_trains() -> None:
    x, y, _ = arrays()
    data = from_arrays("small", x, y, [np.array([0]), np.arange(1, 30), np.arange(30, y.size)], classes=3)
    result = simulate(fogline.Task(linear, data))
    assert result.counts == {}
    assert result.history[-1]["updates"] == 3


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_batch_normalisation_loses_no_client_to_a_last_batch_of_one(engine: str) -> None:
    x, y, _ = arrays()
    parts = [np.arange(31), np.arange(31, 71), np.array([71])]
    data = from_arrays("small", x, y, parts, classes=3, test=Examples(x, y))
    result = simulate(fogline.Task(normed, data), engine=engine, local={"batch_size": 10})
    assert result.counts == {"failed": 3}
    assert result.reasons["failed"].endswith("'client-2': it has 1 example, and the model wants 2 at least in a batch.")
    assert [row["updates"] for row in result.history] == [2, 2, 2]
    # The larger client makes four steps a round; the other one three, as its last example joins the third.
    assert result.params.view("1.num_batches_tracked") == 3 * 4


class Bent(fogline.FedAvg):
    def adjust_gradient(self, gradient, weights, start, local, received):
        return gradient * float("nan")


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"algorithm": Bent(), "engine": "loop"}, fogline.RunError, "the loss is nan in step"),
        ({"algorithm": Bent(), "engine": "flat"}, JobError, "the loss is nan in step"),
        ({"algorithm": Bent(), "engine": "stacked"}, JobError, "the loss is nan in step"),
        ({"local": {"learning_rate": 1e38}, "engine": "loop"}, fogline.RunError, "in step"),
    ],
)
def test_what_makes_every_device_diverge_ends_the_run_and_says_why(
    settings: dict[str, object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        simulate(task(), **settings)


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
        ({"engine": "looop"}, ["looop", "loop"]),
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


@pytest.mark.parametrize("processes", [0, 2])
def test_a_loss_that_cannot_judge_is_told(processes: int) -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            raise KeyError("only made for training")
        return nn.functional.cross_entropy(outputs, targets)

    x, y, parts = arrays()
    wrong = fogline.Task(linear, from_arrays("small", x, y, parts, classes=3), loss=loss)
    asked = {"where": "devices"}
    result = fogline.simulate(wrong, rounds=1, processes=processes, progress=False, evaluation=asked)
    assert (result.devices, result.metrics) == (None, {})
    assert result.counts["not judged"] == CLIENTS
    said = result.reasons["not judged"]
    assert re.search(r"judging the model on client 'client-\d' raised KeyError: 'only made for training' \(", said)
    assert "test_bad_input.py, line" in said


class Divides(fogline.FedAvg):
    def adjust_gradient(self, gradient, weights, start, local, received):
        return gradient * (1 / len(local))


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_a_division_by_zero_in_a_step_is_found_by_hook_and_line(engine: str) -> None:
    with pytest.raises((fogline.RunError, JobError)) as caught:
        simulate(task(), algorithm=Divides(), engine=engine)
    assert "Divides.adjust_gradient raised ZeroDivisionError: division by zero (" in str(caught.value)
    line = inspect.getsourcelines(Divides.adjust_gradient)[1] + 1
    assert f"test_bad_input.py, line {line})" in str(caught.value)


class Readings(torch.utils.data.Dataset[tuple[np.ndarray, int]]):
    """A developer's own data set, of which a row cannot be read."""

    def __init__(self, broken: bool) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return EACH

    def __getitem__(self, place: int) -> tuple[np.ndarray, int]:
        text = "12,5" if self.broken and place == 7 else str(place)
        return np.full(8, float(text), np.float32), place % 3


@pytest.mark.parametrize("how", ["items", "function", "sizes are told"])
def test_a_loader_that_raises_is_named_with_client_file_and_line(how: str) -> None:
    def load(client: str) -> object:
        return Readings(client == "b")

    if how == "items":
        data = from_clients("own", {client: Readings(client == "b") for client in "abc"}, classes=3)
    else:
        data = from_clients("own", list("abc"), load, classes=3, sizes=[EACH] * 3 if how == "sizes are told" else None)
    wrong = fogline.Task(linear, data)
    if how == "function":
        with pytest.raises(CodeError) as caught:
            fogline.simulate(wrong, rounds=1, processes=0, progress=False)
        said = str(caught.value)
    else:
        said = fogline.simulate(wrong, rounds=1, processes=0, progress=False).reasons["failed"]
    assert "Client 'b': loading its data raised ValueError: could not convert string to float: '12,5' (" in said
    line = inspect.getsourcelines(Readings.__getitem__)[1] + 2
    assert f"test_bad_input.py, line {line})" in said


@pytest.mark.parametrize(
    ("engine", "kind", "said"),
    [
        ("loop", fogline.RunError, "3 × loading its data"),
        ("flat", CodeError, "Client 'a': loading its data"),
        (None, CodeError, "Client 'a': loading its data"),
    ],
)
def test_where_nobodys_data_can_be_loaded_the_run_says_why(
    engine: str | None, kind: type[Exception], said: str
) -> None:
    data = from_clients("own", {client: Readings(True) for client in "abc"}, classes=3)
    with pytest.raises(kind, match=f"{said} raised ValueError: could not convert string to float") as caught:
        fogline.simulate(fogline.Task(linear, data), rounds=1, processes=0, progress=False, engine=engine)
    line = inspect.getsourcelines(Readings.__getitem__)[1] + 2
    assert f"test_bad_input.py, line {line})" in str(caught.value)


class Misspelt(nn.Module):
    """Names what does not exist, on one client's data."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.liner(x) if bool((x > 50).any()) else self.linear(x)  # type: ignore[operator]


@pytest.mark.parametrize("processes", [0, 2])
def test_a_model_that_names_what_does_not_exist_is_no_failing_device(processes: int) -> None:
    x, y, parts = arrays()
    x[parts[2]] += 100
    wrong = fogline.Task(Misspelt, from_arrays("small", x, y, parts, classes=3))
    with pytest.raises(CodeError, match=r"^Client 'client-2': training raised AttributeError: .*'liner'"):
        fogline.simulate(wrong, rounds=1, engine="loop", processes=processes, progress=False)


class Leaves(nn.Module):
    """Wants to end the program."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x > 50).any()):
            raise SystemExit("enough")
        return self.linear(x)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_model_cannot_end_the_program(processes: int) -> None:
    x, y, parts = arrays()
    x[parts[2]] += 100
    wrong = fogline.Task(Leaves, from_arrays("small", x, y, parts, classes=3))
    with pytest.raises(CodeError, match=r"^Client 'client-2': training raised SystemExit: enough \(.*, line \d+\)"):
        fogline.simulate(wrong, rounds=1, engine="loop", processes=processes, progress=False)


def test_a_worker_that_is_killed_is_told() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            os.kill(os.getpid(), signal.SIGKILL)
        return nn.functional.cross_entropy(outputs, targets)

    x, y, parts = arrays()
    wrong = fogline.Task(linear, from_arrays("small", x, y, parts, classes=3), loss=loss)
    with pytest.raises(RuntimeError, match=r"ended in the middle of its work \(killed, or out of memory\)"):
        fogline.simulate(wrong, rounds=1, processes=2, progress=False, evaluation={"where": "devices"})


def test_a_start_that_is_not_there_is_said_in_words() -> None:
    with pytest.raises(fogline.JobError, match=r"the model no\.safetensors cannot be read: No such file or directory$"):
        fogline.simulate(task(), rounds=1, start="no.safetensors", progress=False)


def test_a_place_where_nobody_can_be_malicious_names_those_that_can() -> None:
    for tree, right in (
        (fogline.Tree(), "it must be 'devices'"),
        (fogline.Tree(cloud=fogline.Tier(), fog=fogline.Tier()), "it must be 'fog' or 'devices'"),
    ):
        with pytest.raises(fogline.JobError, match=right):
            fogline.simulate(task(), tree=tree, attack={"name": "sign_flip", "at": "cloud"}, progress=False)

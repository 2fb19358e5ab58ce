"""What is easily got wrong in a first program: one sentence, and one client's bad data cost no result."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import fogline
from fogline import CodeError, FedAvg, JobError, Local, Task, Tier, Tree, load_run
from fogline.algorithms import make
from fogline.data import Examples, FederatedData, from_clients

QUICK: dict[str, Any] = {"rounds": 2, "processes": 0, "progress": False}


def examples(count: int = 20, width: int = 4, label: int | None = None) -> Examples:
    x = np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)
    return Examples(x, (x[:, 0] > 0).astype(np.int64) if label is None else np.full(count, label))


def data(**clients: Any) -> FederatedData:
    return from_clients("small", {"good": examples(), **clients}, classes=2, test=examples(30))


def linear() -> nn.Module:
    return nn.Linear(4, 2)


class Unreadable(Dataset[tuple[torch.Tensor, int]]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        if place == 7:
            raise OSError("cannot read photo 7")
        return torch.zeros(4), 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fogline.simulate(data(), **QUICK), "task is of type FederatedData; it must be a fogline.Task"),
        (lambda: fogline.simulate(linear(), **QUICK), "task is of type Linear"),
        (lambda: fogline.simulate(Task(linear, data()), FedAvg, **QUICK), "algorithm is the class FedAvg; it must be"),
        (lambda: Task(linear, [1, 2]), "data is a list; it must be federated data"),
        (lambda: Task(data(), linear), "model is a FederatedData; it must be a function that makes a module"),
        (lambda: Task(linear(), data()), "model is a Linear; it must be a function that makes a module"),
        (lambda: Tier(cohrt=3), "Tier.cohrt is no key of a tier; did you mean 'cohort'?"),
        (lambda: Local(lr=0.1), "local.lr is no key of local training; there are learning_rate, batch_size"),
        (lambda: Tree(cloud=Tier(), minimun=3), "minimun is 3; a tree has minimum, assign, and tiers by name"),
        (lambda: Tree(cloud={"cohrt": 3}), "cloud.cohrt is no key of a tier"),
        (lambda: Tree(cloud=Tier(), minimum=0), "tree.minimum is 0; it must be at least 1"),
        (lambda: from_clients("small", [examples()]), "Data go in a dict by id"),
        (lambda: data()[0], "Clients are found by their names, 0 is none"),
    ],
)
def test_one_thing_given_for_another_is_a_sentence(call: Callable[[], object], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        call()


def test_a_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match="There is no run in"):
        load_run(tmp_path / "file")


BOTH = {"where": "both", "every": 2}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda: examples(width=3), "mat1 and mat2 shapes cannot be multiplied"),
        (Unreadable(), "raised OSError: cannot read photo 7"),
        (examples(label=-100), "none of the targets of client 'bad' has a truth"),
    ],
)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_client_on_whose_data_nothing_can_be_judged_costs_no_result(
    bad: object, why: str, first: bool, processes: int
) -> None:
    clients = {"bad": bad, "good": examples()} if first else {"good": examples(), "bad": bad}
    found = from_clients("small", clients, classes=2, test=examples(30))
    engine = "loop" if processes else None
    settings = QUICK | {"processes": processes, "evaluation": BOTH}
    result = fogline.simulate(Task(linear, found), **settings, engine=engine)
    assert set(result.metrics) == {"loss", "accuracy"}
    assert result.counts == {"failed": 2, "not judged": 1}
    assert why in result.reasons["not judged"]
    assert result.devices is not None
    assert result.devices.count == 1


def test_held_out_clients_without_a_truth_have_no_metrics() -> None:
    found = from_clients("small", {"a": examples(), "b": examples(label=-100)}, classes=2, held_out=["b"])
    result = fogline.simulate(Task(linear, found), **QUICK, evaluation=BOTH)
    assert result.held_out == {}
    assert result.counts == {"not judged": 1}


def test_a_test_set_without_a_truth_is_refused() -> None:
    found = from_clients("small", {"a": examples()}, classes=2, test=examples(label=-100))
    with pytest.raises(JobError, match="none of the test set's targets has a truth"):
        fogline.simulate(Task(linear, found), **QUICK)


def test_a_negative_factor_on_old_updates_is_a_bug() -> None:
    class Negative(FedAvg):
        mode = "async"
        buffer = 1

        def staleness_weight(self, staleness: int) -> float:
            return -1.0

    with pytest.raises(CodeError, match=r"Negative.staleness_weight gives -1.0; it must give a finite number, 0 or"):
        fogline.simulate(Task(linear, data()), Negative(), **QUICK)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class A(FedAvg)\n    pass\n", "raised SyntaxError: expected ':'"),
        ("class A(FedAvg):\n    mu: flaot = 1\n", "raised NameError: name 'flaot' is not defined ("),
        ("class A(FedAvg):\n    mu: list = []\n", "raised ValueError: mutable default <class 'list'> for field mu"),
    ],
)
def test_a_methods_file_that_cannot_be_imported_is_named(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"method_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(f"from fogline import FedAvg\n{text}")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=f"The algorithm '{name}:A' cannot be imported: {name} raised") as caught:
        make(f"{name}:A")
    assert words in str(caught.value)
    assert f"{name}.py, line" in str(caught.value)


def test_a_function_that_cannot_load_its_client_is_named_with_file_and_line() -> None:
    found = from_clients("small", {"good": examples(), "bad": lambda: 1 / 0}, classes=2)
    with pytest.raises(CodeError, match=r"raised ZeroDivisionError: division by zero \(.*test_first_steps.py, line"):
        fogline.simulate(Task(linear, found), **QUICK)

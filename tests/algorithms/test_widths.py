"""Widths of smaller models: what FjORD and HeteroFL refuse before anything runs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fogline import JobError, Task, simulate
from fogline.algorithms import make
from fogline.algorithms.methods.fjord import FjORD
from fogline.algorithms.sub_models import with_sub_models
from fogline.data import from_clients
from fogline.jobs.shares import Shares
from fogline.jobs.unequal import check_named

X, Y = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.arange(6) % 3
DATA = from_clients("few", {"one": (X, Y), "two": (X, Y)}, classes=3)


def task_of(*hidden: int) -> Task:
    def module() -> nn.Module:
        sizes = (4, *hidden)
        layers = [nn.Linear(*pair) for pair in zip(sizes, hidden, strict=False)]
        return nn.Sequential(*layers, nn.Linear(hidden[-1], 3))

    return Task(module, DATA)


NONSENSE: dict[str, tuple[Any, str]] = {
    "none": ((), "widths is empty; name one or more between 0 and 1, the widest first"),
    "zero": ((0.5, 0.0), "is (0.5, 0.0); each must be above 0 and below 1."),
    "the whole": ((1.0, 0.5), "is (1.0, 0.5); each must be above 0 and below 1."),
    "no number": ((float("nan"),), "each must be a finite number above 0 and below 1."),
    "twice the same": ((0.5, 0.5), "widths has 0.5 twice; name each width once"),
    "a wider one behind": ((0.2, 0.5), "widths has 0.5 after 0.2; name the widest first"),
    "texts": (("0.5",), "is ('0.5',); it wants a list of numbers."),
    "a text": ("0.5", "is '0.5'; it wants a list of numbers."),
}


@pytest.mark.parametrize("method", ["fjord", "heterofl"])
@pytest.mark.parametrize("name", NONSENSE)
def test_widths_that_make_no_sense_are_refused(name: str, method: str) -> None:
    widths, why = NONSENSE[name]
    with pytest.raises(ValueError, match=rf"'{method}' .*{re.escape(why)}$"):
        make(method, widths=widths)


def test_widths_of_one_model_are_refused_before_the_run_and_when_a_job_is_submitted() -> None:
    """A width that is drawn for nothing: the layer has three units, and five widths."""
    task, method = task_of(3), make("fjord")
    why = "FjORD's widths 1 and 0.8 give the same model, as no layer has enough units .*; leave 0.8 out of widths"
    with pytest.raises(JobError, match=why):
        simulate(task, method, rounds=1, engine="loop", processes=0, progress=False)
    with pytest.raises(ValueError, match=why):
        check_named(with_sub_models(task, method), method, Shares())
    method = make("fjord", widths=(0.6, 0.5))
    with pytest.raises(ValueError, match=r"widths 0\.6 and 0\.5 give the same model"):
        check_named(with_sub_models(task, method), method, Shares())


def test_one_layer_that_tells_widths_apart_is_enough() -> None:
    method = make("fjord")
    check_named(with_sub_models(task_of(3, 16), method), method, Shares())


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
    )


NORMED = Task(normed, DATA)
LOCAL: dict[str, Any] = {"learning_rate": 0.3, "steps": 2, "batch_size": None}


class OfWidth(FjORD):
    """Every step trains the same one of the widths."""

    widths = (0.5,)
    place: int = 0

    def step_models(self, nested: int, rng: np.random.Generator) -> tuple[int, ...]:
        return (self.place,)


def test_only_steps_of_the_whole_model_move_its_running_statistics() -> None:
    """Those of a narrower model are of another function: with its steps alone, the whole's stay as they were."""
    start, names = NORMED.initial(0), NORMED.running_statistics
    whole, narrow = (
        simulate(NORMED, OfWidth(place=place), rounds=1, local=LOCAL, engine="loop", processes=0, progress=False).params
        for place in (0, 1)
    )
    assert all(np.array_equal(narrow.view(name), start.view(name)) for name in names)
    assert not any(np.array_equal(whole.view(name), start.view(name)) for name in names)
    assert (narrow.view("0.weight") != start.view("0.weight"))[:3].all()
    plain = simulate(NORMED, "fedavg", rounds=1, local=LOCAL, engine="loop", processes=0, progress=False).params
    assert whole.vector == pytest.approx(plain.vector, abs=1e-6)


def test_a_model_cut_afterwards_has_statistics_of_its_own() -> None:
    done = simulate(NORMED, OfWidth(place=1), rounds=1, local=LOCAL, engine="loop", processes=0, progress=False).params
    half = NORMED.cutter().narrow(0.5)
    alone, x = half.alone(done, DATA.at(0)), torch.from_numpy(X)
    layers = {name: torch.from_numpy(alone.view(name)) for name in alone.spec.slices}
    first = x @ layers["0.weight"].T + layers["0.bias"]
    normal = (first - first.mean(0)) / (first.var(0, correction=0) + 1e-5).sqrt()
    second = (normal * layers["1.weight"] + layers["1.bias"]).relu() @ layers["3.weight"].T + layers["3.bias"]
    for place, inputs in ((1, first), (4, second)):
        assert torch.allclose(layers[f"{place}.running_mean"], inputs.mean(0), atol=1e-6)
        assert torch.allclose(layers[f"{place}.running_var"], inputs.var(0), atol=1e-6)
    assert np.array_equal(alone.view("3.weight"), done.view("3.weight")[:2, :3])


def test_a_job_in_which_nobody_has_the_whole_model_has_no_statistics_of_it() -> None:
    with pytest.raises(JobError, match="no device has the whole model, and only those tell its running statistics"):
        simulate(NORMED, "fjord", rounds=1, shares={"devices": {"*": 0.6}}, processes=0, progress=False)

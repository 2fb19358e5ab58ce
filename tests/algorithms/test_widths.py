"""Widths of smaller models: what FjORD and HeteroFL refuse before anything runs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from torch import nn

from fogline import JobError, Task, simulate
from fogline.algorithms import make
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
        simulate(task, method, rounds=1, processes=0, progress=False)
    with pytest.raises(ValueError, match=why):
        check_named(with_sub_models(task, method), method, Shares())
    method = make("fjord", widths=(0.6, 0.5))
    with pytest.raises(ValueError, match=r"widths 0\.6 and 0\.5 give the same model"):
        check_named(with_sub_models(task, method), method, Shares())


def test_one_layer_that_tells_widths_apart_is_enough() -> None:
    method = make("fjord")
    check_named(with_sub_models(task_of(3, 16), method), method, Shares())

"""What a forward pass does beside its outputs: engines that would lose it are refused, and no device hands it on."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fogline.training import ClientJob, LocalMethod, LocalTraining
from fogline.training.torch import ENGINES, Stacked
from fogline.training.torch.kernels import Graph
from tests.training.cohorts import jobs_of, task_of

LOCAL = LocalTraining(learning_rate=0.1, batch_size=4)
SEEN = {"calls": 0}


class Turning(nn.Module):
    """Takes another way after many calls, which it counts where nobody looks; or, seldom, by what it is given."""

    called = 0

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.first, self.last = how, nn.Linear(8, 8), nn.Linear(8, 5)
        self.own = types.SimpleNamespace(calls=0)
        self.deep = {"a": {"b": {"c": {"calls": 0}}}}

    def turns(self, x: Tensor) -> bool:
        if self.how == "object":
            self.own.calls += 1
            return self.own.calls > 1000
        if self.how == "deep":
            self.deep["a"]["b"]["c"]["calls"] += 1
            return self.deep["a"]["b"]["c"]["calls"] > 1000
        if self.how == "class":
            Turning.called += 1
            return Turning.called > 1000
        if self.how == "file":
            SEEN["calls"] += 1
            return SEEN["calls"] > 1000
        try:
            return float(x.abs().max()) > 100.0
        except Exception:  # noqa: BLE001 - as people write it
            return False

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        return self.last(torch.tanh(hidden) if self.turns(x) else torch.relu(hidden))


@pytest.mark.parametrize("how", ["object", "deep", "class", "file", "caught"])
def test_what_a_trace_would_fix_for_good_is_not_traced(how: str) -> None:
    """A comparison on a few batches cannot see it: the other way is taken later."""
    task = task_of(lambda: Turning(how))
    assert Graph.of(task, single=True) is None
    assert Stacked.refuses(task, LocalMethod(), LOCAL) is not None


class Recurrent(nn.Module):
    """Goes on from where the batch before it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.last = nn.GRU(2, 6, batch_first=True), nn.Linear(6, 5)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        fits = self.state is not None and self.state.shape[1] == len(x)
        states, end = self.gru(x.view(len(x), 4, 2), self.state if fits else None)
        self.state = end.detach()
        return self.last(states[:, -1])


class Counting(nn.Module):
    """Counts its calls in an object of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.own = nn.Linear(8, 8), nn.Linear(8, 5), types.SimpleNamespace(calls=0)

    def forward(self, x: Tensor) -> Tensor:
        self.own.calls += 1
        hidden = self.first(x)
        return self.last(torch.relu(hidden) if self.own.calls < 4 else torch.tanh(hidden))


@pytest.mark.parametrize("engine", ["loop", "flat"])
@pytest.mark.parametrize("model", [Recurrent, Counting])
def test_no_device_finds_what_another_left(model: type[nn.Module], engine: str) -> None:
    """Results would depend on the order, and so on the number of processes."""
    task = task_of(model, sizes=(12, 12, 12))
    jobs = jobs_of(task, LOCAL)

    def train(some: list[ClientJob]) -> dict[int, Any]:
        return {done.client: done.end for done in ENGINES[engine](task, LocalMethod(), LOCAL).train(some)}

    forward, backward = train(jobs), train(jobs[::-1])
    for client, end in forward.items():
        np.testing.assert_array_equal(end, backward[client])


def test_a_judgement_does_not_depend_on_the_one_before() -> None:
    task = task_of(Recurrent, sizes=(12, 12))
    params, examples = task.initial(0), task.data.at(0)
    assert task.evaluate(params, examples) == task.evaluate(params, examples)


class Growing(nn.Module):
    """Keeps all that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 5)
        self.register_buffer("seen", torch.zeros(1, 8))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = torch.cat([self.seen, x.detach()])
        return self.linear(x + self.seen.mean(0))


def test_state_that_grows_is_named() -> None:
    task = task_of(Growing)
    done = ENGINES["loop"](task, LocalMethod(), LOCAL).train(jobs_of(task, LOCAL))
    assert "'seen' had shape (1, 8)" in str(done[0].failure)
    assert "persistent=False" in str(done[0].failure)


def test_a_module_that_keeps_what_it_computed_trains() -> None:
    """As ``torch.nn.utils.weight_norm`` does: beyond the end of a trace such a tensor has no numbers to look at."""

    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.last = nn.Parameter(torch.ones(5, 8)), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            self.last.scaled = self.gain * self.last.weight
            return nn.functional.linear(x, self.last.scaled)

    task = task_of(Kept)
    refused = Stacked.refuses(task, LocalMethod(), LOCAL)
    assert refused is not None
    assert "changes something that it reaches" in refused

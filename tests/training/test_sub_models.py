"""Smaller models of a PyTorch task: which width feeds which, what they compute, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fogline import Task
from fogline.data import from_clients
from fogline.params import Params
from fogline.training.context import LocalBatch
from fogline.training.sub_models import SubModel
from fogline.training.torch.sub_models.axes import UncuttableError, ranges
from fogline.training.torch.sub_models.nested import NestedModel
from fogline.training.torch.sub_models.tracing import trace


class Residual(nn.Module):
    """A residual sum, a concatenation and a flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.two, self.three = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.last = nn.Linear(12 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.one(x)))
        x = torch.cat([x + self.two(x), self.three(x)], 1)
        return self.last(nn.functional.max_pool2d(x, 2).flatten(1))


class Sequence(nn.Module):
    """Embeddings with places, attention, normalisation and a recurrent layer in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 16), nn.Parameter(torch.randn(1, 5, 16))
        self.attention, self.norm = nn.MultiheadAttention(16, 4, batch_first=True), nn.LayerNorm(16)
        self.states = nn.LSTM(16, 6, 2, bidirectional=True, batch_first=True)
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x) + self.places
        x = self.norm(x + self.attention(x, x, x)[0])
        return self.last(self.states(x)[0][:, -1])


class Exits(nn.Module):
    """Three heads, one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.head2, self.body1 = nn.Linear(6, 3), nn.Sequential(nn.Linear(4, 6), nn.ReLU())
        self.body2, self.head1 = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body1(x)
        return self.head1(x), self.head2(self.body2(x))


def task_of(module: Callable[[], nn.Module], x: Any, classes: int = 3) -> Task:
    y = np.arange(len(x)) % classes
    return Task(module, from_clients("few", {"a": (x, y), "b": (x, y)}, classes=classes))


def smaller(model: SubModel) -> Task:
    """The task of a smaller model."""
    return cast("Task", model.task)


NUMBERS = np.random.default_rng(0).random((6, 4), np.float32)


def kept(module: nn.Module, x: Tensor, width: float = 0.5) -> dict[str, Any]:
    table = trace(module, x)
    tensors = dict(module.named_parameters())
    return {name: [ranges(axis, width) for axis in table.parameters[id(t)][1]] for name, t in tensors.items()}


def test_widths_go_through_sums_concatenations_and_flattening() -> None:
    found = kept(Residual(), torch.zeros(2, 1, 8, 8))
    half = ((0, 4),)
    assert found["two.weight"] == [half, half, None, None]
    assert found["norm.weight"] == [half]
    assert found["three.weight"] == [((0, 2),), half, None, None]
    assert found["last.weight"] == [None, ((0, 64), (128, 160))]
    assert found["last.bias"] == [None]


def test_heads_and_gates_keep_the_first_units_of_each() -> None:
    found = kept(Sequence(), torch.zeros(2, 5, dtype=torch.long))
    heads = tuple((4 * i, 4 * i + 2) for i in range(12))
    assert found["places"] == [None, None, ((0, 8),)]
    assert found["attention.in_proj_weight"] == [heads, ((0, 8),)]
    assert found["attention.out_proj.weight"] == [((0, 8),), heads[:4]]
    assert found["states.weight_ih_l1"] == [((0, 3), (6, 9), (12, 15), (18, 21)), ((0, 3), (6, 9))]
    assert found["last.weight"] == [None, ((0, 3), (6, 9))]


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (Residual, np.random.default_rng(1).random((6, 1, 8, 8), np.float32)),
        (Sequence, np.random.default_rng(2).integers(0, 11, (6, 5))),
        (lambda: nn.Sequential(nn.Conv1d(4, 8, 1, groups=4), nn.Flatten(), nn.Linear(8, 3)), NUMBERS[..., None]),
    ],
)
def test_units_that_give_nothing_can_be_cut_off(module: Callable[[], nn.Module], x: Any) -> None:
    """With all other numbers zero the whole model gives what the narrow one gives."""
    if module not in (Residual, Sequence):
        with pytest.raises(UncuttableError, match="groups of channels"):
            task_of(module, x).cutter().narrow(0.5)
        return
    task = task_of(module, x, 10 if module is Residual else 3)
    small = task.cutter().narrow(0.5)
    whole = task.initial(3)
    if module is Residual:
        lone = Params(task.spec, np.zeros_like(whole.vector), whole.counters)
        places = small.ranges.trained(task.spec)
        lone.vector[places] = whole.vector[places]
        lone.view("norm.running_var")[:] = whole.view("norm.running_var")
        one, other = task.evaluate(lone, task.data.at(0)), smaller(small).evaluate(small.cut(whole), task.data.at(0))
        assert one == pytest.approx(other, rel=1e-5)
    assert small.ranges.spec(task.spec) == small.task.spec
    assert small.cost < task.cost
    assert 0.1 < small.share < 0.5


def test_a_shallow_model_has_the_first_outputs_in_the_order_of_the_whole() -> None:
    task = task_of(Exits, NUMBERS)
    small, whole = task.cutter().shallow(1), task.initial(0)
    assert [entry.name for entry in small.task.spec.entries] == [
        *("body1.0.weight", "body1.0.bias", "head1.weight", "head1.bias")
    ]
    module, part = Exits(), smaller(small).untrained()
    task.layout.load(module, whole.vector, whole.counters)
    cut = small.cut(whole)
    smaller(small).layout.load(part, cut.vector, cut.counters)
    x = torch.from_numpy(NUMBERS)
    (first,) = part(x)
    assert torch.equal(first, module(x)[0])


def test_of_a_partial_model_only_what_is_named_trains() -> None:
    task = task_of(Exits, NUMBERS)
    small = task.cutter().only(["head1.bias"])
    assert (small.share, small.is_cut) == (3 / task.spec.trainable, False)
    assert list(small.ranges.entries) == ["head1.bias"]
    assert task.cost / 3 <= small.cost < task.cost


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x).real


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x) if x.sum() > 0 else self.last(-x)


class FixedView(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.one(x).view(-1, 6))


def of(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (lambda: of(nn.Linear(4, 3)), "no layer between input and output"),
        (lambda: of(nn.Linear(4, 6), nn.Bilinear(4, 4, 3)), "cannot take its inputs"),
        (lambda: of(nn.Linear(4, 6), Unknown(), nn.Linear(6, 3)), "operation 'fft_fft': nothing is known"),
        (lambda: of(nn.Linear(4, 6), nn.CosineSimilarity(), nn.Linear(6, 3)), "cannot take its inputs"),
        (lambda: of(nn.Linear(4, 6), nn.RMSNorm(6), nn.Linear(6, 3)), "layer '1' (RMSNorm): nothing is known"),
        (Branching, "cannot be told beforehand"),
        (FixedView, "x.flatten(1), and not x.view(-1, 320)"),
    ],
)
def test_what_cannot_be_cut_is_named(module: Callable[[], nn.Module], why: str) -> None:
    with pytest.raises(ValueError, match=r"model|layer|operation") as caught:
        task_of(module, NUMBERS).cutter().narrow(0.5)
    assert why in str(caught.value)


def test_one_output_is_no_row_of_depths() -> None:
    with pytest.raises(ValueError, match="gives one output, and a shallower one wants an output at each depth"):
        _ = task_of(lambda: of(nn.Linear(4, 3)), NUMBERS).cutter().exits


def test_a_nested_model_gives_what_the_smaller_one_gives_and_its_gradient_goes_to_the_whole() -> None:
    task = task_of(lambda: of(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), NUMBERS)
    half, third = task.cutter().narrow(0.5), task.cutter().narrow(0.3)
    whole, module, part = task.initial(0), cast("nn.Sequential", task.untrained()), smaller(third).untrained()
    cut = third.cut(whole)
    task.layout.load(module, whole.vector, whole.counters)
    smaller(third).layout.load(part, cut.vector, cut.counters)
    batch = LocalBatch(torch.from_numpy(NUMBERS), torch.zeros(6, dtype=torch.long))
    given = NestedModel(task, None, third)(module, batch)
    assert torch.allclose(given, part(batch.inputs))
    given.sum().backward()
    moved = module[2].weight.grad.any(0)
    assert not moved[2:].any()
    assert moved[:2].any()
    own = smaller(half).untrained()
    cut = half.cut(whole)
    smaller(half).layout.load(own, cut.vector, cut.counters)
    assert torch.allclose(NestedModel(smaller(half), half, third)(own, batch), part(batch.inputs))

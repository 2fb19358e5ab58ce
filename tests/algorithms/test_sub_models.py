"""Methods for unequal devices: by hand, against FedAvg, on a star and on a tree, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fogline import JobError, Result, Task, Tier, Tree, simulate
from fogline.aggregation import UnusableUpdateError, Update
from fogline.algorithms import Algorithm, FedAvg, make
from fogline.compute.whole_updates import WholeUpdates
from fogline.data import FederatedData, from_clients
from fogline.params.ranges import ModelRanges

RNG = np.random.default_rng(0)
SIZES = {"weak-0": 6, "weak-1": 4, "strong-0": 8, "strong-1": 5}
WEAK: Mapping[str, Any] = {"devices": {"weak-*": 0.55}}
TREE = Tree(cloud=Tier(), fog=Tier(count=2))


def some_data(classes: int = 3) -> FederatedData:
    parts = {
        name: (RNG.normal(size=(size, 4)).astype(np.float32), np.arange(size) % classes) for name, size in SIZES.items()
    }
    return from_clients("few", parts, classes=3, test=parts["strong-0"])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


class Heads(nn.Module):
    """An output behind each of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.head1 = nn.Linear(4, 5), nn.Linear(5, 3)
        self.two, self.head2 = nn.Linear(5, 9), nn.Linear(9, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.one(x).relu()
        return self.head1(x), self.head2(self.two(x).relu())


DATA = some_data()
TASK, DEEP = Task(mlp, DATA), Task(Heads, DATA)


def run(method: Algorithm, task: Task = TASK, tree: Tree | None = None, rounds: int = 1, **more: Any) -> Result:
    local = {"learning_rate": 0.3, "steps": 1, "batch_size": None}
    return simulate(task, method, tree, rounds=rounds, local=local, engine="loop", processes=0, progress=False, **more)


def test_shares_of_nobody_are_refused() -> None:
    with pytest.raises(JobError, match=r"shares.devices names 'week-\*', and no device is called so"):
        run(make("heterofl"), shares={"devices": {"weak-*": 0.55, "week-*": 0.3}})


@pytest.mark.parametrize("scaler", [False, True])
def test_each_number_moves_by_the_mean_over_those_who_have_it(scaler: bool) -> None:
    """One step of full batches on two layers, with slices by hand."""
    start, done = TASK.initial(0), run(make("heterofl", masked=False, scaler=scaler), shares=WEAK).params
    sums, weights = np.zeros(start.vector.size), np.zeros(start.vector.size)
    for place, (name, size) in enumerate(SIZES.items()):
        units = 3 if name.startswith("weak") else 6
        w1, b1, w2, b2 = (torch.tensor(array, requires_grad=True) for array in (
            start.view("0.weight")[:units], start.view("0.bias")[:units],
            start.view("2.weight")[:, :units], start.view("2.bias"),
        ))  # fmt: skip
        x, y = map(torch.as_tensor, DATA.at(place))
        hidden = (x @ w1.T + b1) / (0.5 if scaler and units == 3 else 1.0)
        nn.functional.cross_entropy(hidden.relu() @ w2.T + b2, y.long()).backward()
        at = 0
        for entry, tensor in zip(TASK.spec.entries, (w1, b1, w2, b2), strict=True):
            slot = np.zeros(entry.shape)
            own = tuple(slice(n) for n in tensor.shape)
            slot[own] = size
            weights[at : at + entry.count] += slot.ravel()
            assert tensor.grad is not None
            slot[own] *= -0.3 * tensor.grad.numpy()
            sums[at : at + entry.count] += slot.ravel()
            at += entry.count
    assert done.vector == pytest.approx(start.vector + sums / weights, abs=1e-6)


@pytest.mark.parametrize("tree", [None, TREE])
def test_with_whole_models_it_is_fedavg_to_the_bit(tree: Tree | None) -> None:
    wanted = run(FedAvg(), tree=tree, rounds=2).params.vector
    for shares in ({}, {"devices": {"*": 1.0}}, {"speed": 1.0}):
        assert np.array_equal(run(make("heterofl"), tree=tree, rounds=2, shares=shares).params.vector, wanted)


@pytest.mark.parametrize("name", ["heterofl", "partial_layers"])
def test_devices_that_step_together_come_to_what_each_comes_to(name: str) -> None:
    local = {"learning_rate": 0.3, "steps": 3, "batch_size": 3}
    one, other = (
        simulate(TASK, name, rounds=1, local=local, engine=engine, processes=0, progress=False, shares=WEAK).params
        for engine in ("loop", "stacked")
    )
    assert other.vector == pytest.approx(one.vector, abs=1e-6)


METHODS = {
    "heterofl": (make("heterofl"), TASK),
    "fjord": (make("fjord", distils=True, alpha=0.5), TASK),
    "depthfl": (make("depthfl"), DEEP),
    "partial_layers": (make("partial_layers"), TASK),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_tree_gives_what_a_star_gives(name: str) -> None:
    method, task = METHODS[name]
    star = run(method, task, rounds=2, shares=WEAK, exact=True)
    tree = run(method, task, TREE, rounds=2, shares=WEAK, exact=True)
    assert np.array_equal(star.params.vector, tree.params.vector)
    assert not np.array_equal(star.params.vector, run(method, task, rounds=2, exact=True).params.vector)


def test_a_fog_s_own_rounds_leave_what_nobody_has() -> None:
    """Where all are weak, no unit beyond theirs moves, whatever the tree."""
    start, tree = TASK.initial(0), Tree(cloud=Tier(), fog=Tier(count=2, rounds=2))
    done = run(make("heterofl", masked=False), tree=tree, rounds=2, shares={"devices": {"*": 0.55}}).params
    moved = done.view("0.weight") != start.view("0.weight")
    assert moved[:3].any()
    assert not moved[3:].any()
    assert not (done.view("2.weight") != start.view("2.weight"))[:, 3:].any()


def test_links_and_clock_know_smaller_models() -> None:
    devices = {"preset": "equal", "up": 1e3, "down": 1e3}
    whole, smaller = (run(make("heterofl", masked=False), devices=devices, shares=s) for s in ({}, WEAK))
    numbers, part = TASK.spec.trainable, 4 * 3 + 3 + 3 * 3 + 3
    assert whole.history[-1]["down/cloud"] - smaller.history[-1]["down/cloud"] == 2 * 4 * (numbers - part)
    assert 0 < whole.history[-1]["up/cloud"] - smaller.history[-1]["up/cloud"] < 2 * 4 * (numbers - part)
    alone = run(make("heterofl", masked=False), devices=devices, shares={"devices": {"*": 0.55}})
    assert alone.history[-1]["seconds"] < whole.history[-1]["seconds"]


def test_shares_follow_speed_and_memory() -> None:
    devices = {"speed": 550.0, "memory_mb": 1100}
    by_speed = run(make("heterofl", masked=False), devices=devices, shares={"speed": 1000.0})
    by_memory = run(make("heterofl", masked=False), devices=devices, shares={"memory": "2GB"})
    named = run(make("heterofl", masked=False), shares={"devices": {"*": 0.55}})
    assert np.array_equal(by_speed.params.vector, named.params.vector)
    assert np.array_equal(by_memory.params.vector, named.params.vector)


def test_classes_that_a_device_does_not_have_are_masked() -> None:
    """No device has class 2: with the mask, its row stays."""
    task = Task(mlp, some_data(classes=2))
    start, bias = task.initial(0), "2.bias"
    masked, plain = (run(make("heterofl", masked=m), task, shares=WEAK).params for m in (True, False))
    assert masked.view(bias)[2] == start.view(bias)[2]
    assert (masked.view(bias)[:2] != start.view(bias)[:2]).all()
    assert plain.view(bias)[2] != start.view(bias)[2]


def test_ordered_dropout_without_a_smaller_width_is_plain_sgd() -> None:
    """The nested models are what the device trains: with one width that is the device's own, FjORD is HeteroFL."""
    shares = {"devices": {"*": 0.55}}
    fjord = run(make("fjord", widths=(0.5,)), rounds=2, shares=shares).params.vector
    hetero = run(make("heterofl", widths=(0.5,), masked=False, scaler=False), rounds=2, shares=shares).params.vector
    assert fjord == pytest.approx(hetero, abs=1e-6)


@pytest.mark.parametrize("name", ["heterofl", "fjord", "partial_layers"])
def test_what_is_frozen_is_cut_with_the_rest_and_stays(name: str) -> None:
    def frozen() -> nn.Module:
        module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
        module[0].requires_grad_(False)
        return module

    done = run(make(name), Task(frozen, DATA), shares={"devices": {"weak-*": 0.6}})
    assert (done.counts, done.history[-1]["updates"]) == ({}, 4)
    start = Task(frozen, DATA).initial(0)
    assert np.array_equal(done.params.view("0.weight"), start.view("0.weight"))
    assert (done.params.view("2.weight") != start.view("2.weight")).any()


class Batchnorm(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def test_running_statistics_are_those_of_whole_models() -> None:
    task = Task(Batchnorm, DATA)
    with_weak = run(make("heterofl", masked=False), task, shares=WEAK).params.view("1.running_mean")
    strong = from_clients("few", {n: DATA[n] for n in SIZES if n.startswith("strong")}, classes=3, test=DATA["weak-0"])
    assert with_weak == pytest.approx(run(FedAvg(), Task(Batchnorm, strong)).params.view("1.running_mean"), abs=1e-6)
    with pytest.raises(JobError, match="no device has the whole model, and only those tell its running statistics"):
        run(make("heterofl"), task, shares={"devices": {"*": 0.55}})


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a method without smaller models": ({"method": FedAvg()}, "FedAvg has no smaller models; take 'heterofl'"),
    "a rule of whole updates": ({"tree": Tree(cloud=Tier(rule="median"))}, "cloud.rule compares whole updates"),
    "an exchange": ({"tree": Tree(cloud=Tier(exchange="secagg")), "method": make("fjord")}, "an exchange"),
    "a downlink stage": ({"tree": Tree(cloud=Tier(downlink=("int8",)))}, "tree.cloud.downlink makes one message"),
    "noise for devices": (
        {"method": make("partial_layers"), "privacy": {"clip": 1.0, "noise": 1.0}},
        "a number is in some of them only",
    ),
    "private layers": ({"method": make("heterofl", private=("2.*",))}, "leave private out"),
    "too small a share": ({"shares": {"devices": {"weak-*": 0.01}}}, "the smallest has 0.2"),
    "one output": ({"method": make("depthfl")}, "gives one output"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused_before_the_run(name: str) -> None:
    given, why = REFUSED[name]
    asked: dict[str, Any] = {"method": make("heterofl"), "shares": WEAK, **given}
    with pytest.raises(JobError) as caught:
        run(**asked)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size", "why"),
    [
        ('{"0.bias":[[[0,2]]]}', 3, "has shape (3,), and the smaller model that it is of (2,)"),
        ('{"0.bias":[[[0,9]]]}', 9, "not within (6,)"),
        ("no json", 2, "cannot be read"),
    ],
)
def test_an_update_of_other_numbers_than_it_says_is_refused(text: str, size: int, why: str) -> None:
    sent = Update({"delta": np.ones(size, np.float32)}, {"delta": 1.0}, ranges=ModelRanges(text))
    read = Update.from_arrays(sent.to_arrays())
    with pytest.raises(UnusableUpdateError) as caught:
        WholeUpdates(TASK.spec, "delta").of(read)
    assert why in str(caught.value)

"""Methods for unequal devices: by hand, against FedAvg, on a star and on a tree, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fogline import JobError, Result, Task, Tier, Tree, simulate
from fogline.aggregation import UnusableUpdateError, Update
from fogline.algorithms import Algorithm, FedAvg, make
from fogline.algorithms.methods.fjord import FjORD
from fogline.algorithms.sub_models import part_of_effort, sub_model_of, with_sub_models
from fogline.compute.whole_updates import WholeUpdates
from fogline.data import FederatedData, from_clients
from fogline.params import Params
from fogline.params.ranges import ModelRanges
from fogline.training.torch.steps.nested_steps import NestedSteps
from fogline.user_code.bugs import CodeError

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
    """One step of full batches on two layers, with slices by hand; 0.45 of six units are three, a half."""
    method = make("heterofl", widths=(0.45,), masked=False, scaler=scaler)
    start, done = TASK.initial(0), run(method, shares=WEAK).params
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


METHODS = {
    "heterofl": (make("heterofl"), TASK),
    "fjord": (make("fjord", distils=True, alpha=0.5), TASK),
    "depthfl": (make("depthfl", ramp_up=0), DEEP),
    "partial_layers": (make("partial_layers"), TASK),
}


class NormedHeads(nn.Module):
    """Two outputs by name, behind a layer that normalises by the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.head1 = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
        self.two, self.head2 = nn.Linear(5, 19), nn.Linear(19, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.norm(self.one(x)).relu()
        return {"early": self.head1(x), "late": self.head2(self.two(x).relu())}


def convolutions() -> nn.Module:
    """On four numbers as one image."""
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
    )


STEPPED = METHODS | {
    "fjord, convolutions": (make("fjord", distils=True), Task(convolutions, DATA)),
    "depthfl, normed heads": (make("depthfl", ramp_up=0), Task(NormedHeads, DATA)),
    "fjord, alone": (make("fjord"), TASK),
    "fjord, larger teachers": (make("fjord", distils=True), TASK),
}


@pytest.mark.parametrize("engine", ["flat", "stacked"])
@pytest.mark.parametrize("name", STEPPED)
def test_fast_engines_train_smaller_models_as_the_reference_does(name: str, engine: str) -> None:
    """With devices of several sizes, ragged batches, momentum and clipping."""
    method, task = STEPPED[name]
    local = {"learning_rate": 0.3, "steps": 3, "batch_size": 3, "momentum": 0.5, "clip_norm": 0.4}
    start = task.initial(0).vector
    one, other = (
        simulate(task, method, rounds=1, local=local, engine=kind, processes=0, progress=False, shares=WEAK).params
        for kind in ("loop", engine)
    )
    assert other.vector == pytest.approx(one.vector, abs=1e-6)
    assert np.abs(one.vector - start).max() > 0.01


@pytest.mark.parametrize("engine", ["flat", "stacked"])
def test_an_engine_that_leaves_smaller_models_out_is_not_taken(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = NestedSteps.step
    monkeypatch.setattr(NestedSteps, "step", lambda self, models, *given: step(self, (0,), *given))
    with pytest.raises(JobError, match="gives other numbers than 'loop'"):
        simulate(TASK, "fjord", rounds=1, engine=engine, processes=0, progress=False, shares=WEAK)


class WholeAndHalf(FjORD):
    """Every step trains both, whatever is drawn."""

    def step_models(self, nested: int, rng: np.random.Generator) -> tuple[int, ...]:
        return 0, 1


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_a_width_learns_from_the_device_s_own_by_hand(engine: str) -> None:
    x, y = map(torch.as_tensor, DATA.at(2))
    task = Task(mlp, from_clients("one", {"one": DATA.at(2)}, classes=3))
    start = task.initial(0)
    w1, b1, w2, b2 = leaves = [torch.tensor(start.view(e.name), requires_grad=True) for e in task.spec.entries]
    whole = (x @ w1.T + b1).relu() @ w2.T + b2
    half = (x @ w1[:3].T + b1[:3]).relu() @ w2[:, :3].T + b2
    told, losses = whole.detach().log_softmax(1), [nn.functional.cross_entropy(o, y.long()) for o in (whole, half)]
    taught = (told.exp() * (told - half.log_softmax(1))).sum(1).mean()
    (losses[0] + 0.25 * losses[1] + 0.75 * taught).backward()
    wanted = [(leaf - 0.3 * leaf.grad).detach().ravel() for leaf in leaves if leaf.grad is not None]
    method = WholeAndHalf(widths=(0.5,), distils=True, alpha=0.75)
    local = {"learning_rate": 0.3, "steps": 1, "batch_size": None}
    done = simulate(task, method, rounds=1, local=local, engine=engine, processes=0, progress=False)
    assert done.params.vector == pytest.approx(torch.cat(wanted).numpy(), abs=1e-6)
    assert done.history[-1]["train_loss"] == pytest.approx(losses[0].item(), rel=1e-5)


class Beyond(FjORD):
    """Names a model that there is not."""

    def step_models(self, nested: int, rng: np.random.Generator) -> tuple[int, ...]:
        return (nested,)


def test_a_step_names_models_that_there_are() -> None:
    with pytest.raises(CodeError, match=r"step_models gives \[5\]; it must give one or more of the places 0 to 4"):
        run(Beyond())


class Bent(FjORD):
    """Would change a loss that no step has."""

    def adjust_loss(self, loss: Any, batch: Any, device: Any) -> Any:
        return 2 * loss


def test_where_a_step_has_several_models_no_hook_sees_its_loss() -> None:
    with pytest.raises(ValueError, match="of which its adjust_loss would see none; leave one of the two out"):
        run(Bent())


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


def statistics_by_hand(params: Params) -> dict[str, torch.Tensor]:
    """Of a layer's inputs: the mean over devices of their means and unbiased variances, by their examples."""
    weight, bias = (torch.as_tensor(params.view(f"0.{name}")) for name in ("weight", "bias"))
    inputs = [torch.as_tensor(DATA.at(place)[0]) @ weight.T + bias for place in range(len(SIZES))]
    shares = torch.tensor(list(SIZES.values())) / sum(SIZES.values())
    found = {"running_mean": [x.mean(0) for x in inputs], "running_var": [x.var(0) for x in inputs]}
    return {f"1.{name}": (torch.stack(each) * shares[:, None]).sum(0) for name, each in found.items()}


@pytest.mark.parametrize("shares", [WEAK, {"devices": {"*": 0.55}}, {}], ids=["some weak", "all weak", "none weak"])
@pytest.mark.parametrize("tree", [None, TREE], ids=["star", "tree"])
def test_running_statistics_are_measured_of_the_finished_model(shares: Any, tree: Tree | None) -> None:
    """On all devices, weak ones too, and of the model that is handed out, whatever trained it."""
    done = run(make("heterofl", masked=False), Task(Batchnorm, DATA), tree, rounds=2, shares=shares)
    for name, wanted in statistics_by_hand(done.params).items():
        assert done.params.view(name) == pytest.approx(wanted.numpy(), abs=1e-6), name
    task, test = Task(Batchnorm, DATA), DATA.test
    assert test is not None
    assert done.metrics == pytest.approx(task.metrics(task.evaluate(done.params, test)))


def test_engines_agree_on_a_model_with_batch_normalisation() -> None:
    local = {"learning_rate": 0.3, "steps": 3, "batch_size": 3}
    task = Task(Batchnorm, DATA)
    one, other = (
        simulate(task, "heterofl", rounds=2, local=local, engine=engine, processes=0, progress=False, shares=WEAK)
        for engine in ("loop", "stacked")
    )
    assert other.params.vector == pytest.approx(one.params.vector, rel=1e-5, abs=1e-6)
    assert other.job.engine == "stacked"


def test_to_measure_costs_a_model_down_and_a_forward_pass() -> None:
    task, devices = Task(Batchnorm, DATA), {"preset": "equal", "up": 1e3, "down": 1e3}
    often, seldom = (
        run(make("heterofl", masked=False), task, rounds=2, devices=devices, evaluation={"every": every})
        for every in (1, 2)
    )
    more = {name: often.history[-1][name] - seldom.history[-1][name] for name in ("down/cloud", "up/cloud", "joules")}
    assert len(SIZES) * task.spec.bytes <= more["down/cloud"] < 2 * len(SIZES) * task.spec.bytes
    assert more["up/cloud"] > len(SIZES) * 2 * 6 * 16  # Two sums of six units, each with what was lost of it.
    assert more["joules"] > 0
    assert np.array_equal(often.params.vector, seldom.params.vector)


def test_a_resumed_run_measures_what_one_in_a_piece_does(tmp_path: Path) -> None:
    task, method = Task(Batchnorm, DATA), make("heterofl", masked=False)
    whole = run(method, task, rounds=4, shares=WEAK)
    run(method, task, rounds=2, shares=WEAK, folder=tmp_path / "run")
    resumed = run(method, task, rounds=4, shares=WEAK, folder=tmp_path / "run", resume=True)
    assert np.array_equal(resumed.params.vector, whole.params.vector)
    names = ("down/cloud", "up/cloud", "joules")
    assert [resumed.history[-1][name] for name in names] == [whole.history[-1][name] for name in names]


def test_where_other_methods_have_statistics_from_whole_models_one_must_have_it() -> None:
    with pytest.raises(JobError, match="no device has the whole model, and only those tell its running statistics"):
        run(make("fjord", widths=(0.5,)), Task(Batchnorm, DATA), shares={"devices": {"*": 0.55}})


def test_statistics_are_not_measured_where_nobody_may_see_what_a_device_sends() -> None:
    class Alone(FedAvg):
        static_statistics = True

    with pytest.raises(
        JobError, match=r"measure the running statistics .*'1.running_mean'.* the exchange of tree.cloud"
    ):
        run(Alone(), Task(Batchnorm, DATA), Tree(cloud=Tier(exchange="secagg")))


def three_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))


LAYERS = Task(three_layers, DATA)


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_part_of_a_round_s_work_is_as_many_layers_as_it_is_enough_for(share: float) -> None:
    method = make("partial_layers")
    task = with_sub_models(LAYERS, method)
    part, own = part_of_effort(task, method), sub_model_of(task, method, share)
    whole = task.cost if own is None else own.cost
    assert part is not None
    assert task.sub_models is not None
    trained = list[float]()
    for effort in (0.99, 0.7, 0.5, 0.1):
        given, steps = part(effort, share)
        model = sub_model_of(task, method, given)
        assert model is not None
        assert steps * model.cost == pytest.approx(effort * whole)
        trained.append(model.share)
        assert steps >= 1.0 or model is task.sub_models.nested()[-1]  # Of the last layer alone: fewer steps.
    assert trained == sorted(trained, reverse=True)
    assert len(set(trained)) > (own is None)  # A device with two layers has one smaller model.


def test_who_has_time_for_part_of_a_round_trains_the_last_layers() -> None:
    """Nobody is known in the first round, so all train the last layer only; later the quick ones train all."""
    cost = 20 * LAYERS.cost
    devices = {"tables": [{"speed": [cost / 10.0, cost / 10.0, cost / 100.0, cost / 100.0]}], "up": 1e3, "down": 1e5}
    tree, local = Tree(cloud=Tier(policy="timelyfl")), {"learning_rate": 0.3, "steps": 10, "batch_size": 2}

    def timely(method: str, rounds: int) -> Result:
        more: dict[str, Any] = {"devices": devices, "local": local, "engine": "loop", "processes": 0, "progress": False}
        return simulate(LAYERS, method, tree, rounds=rounds, **more)

    start, once, often = LAYERS.initial(0), timely("partial_layers", 1).params, timely("partial_layers", 6)
    plain, names = timely("fedavg", 6), ("0.weight", "2.weight", "4.weight")
    moved = [not np.array_equal(once.view(name), start.view(name)) for name in names]
    assert moved == [False, False, True]
    assert (often.params.view("0.weight") != start.view("0.weight")).any()
    assert often.history[-1]["up/cloud"] < 0.8 * plain.history[-1]["up/cloud"]
    assert often.history[-1]["seconds"] == pytest.approx(plain.history[-1]["seconds"], rel=0.1)  # As much work.
    assert all(row["updates"] == 4 for row in often.history)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a method without smaller models": ({"method": FedAvg()}, "FedAvg has no smaller models; take 'heterofl'"),
    "a rule of whole updates": ({"tree": Tree(cloud=Tier(rule="median"))}, "cloud.rule compares whole updates"),
    "an exchange": ({"tree": Tree(cloud=Tier(exchange="secagg")), "method": make("fjord")}, "an exchange"),
    "a downlink stage": ({"tree": Tree(cloud=Tier(downlink=("int8",)))}, "tree.cloud.downlink makes one message"),
    "noise for devices": (
        {"method": make("partial_layers"), "privacy": {"clip": 1.0, "noise": 1.0}},
        "a number is in some of them only",
    ),
    "parts of a round's work": (
        {
            "method": make("partial_layers"),
            "tree": Tree(cloud=Tier(policy="timelyfl", downlink=("int8",))),
            "shares": {},
        },
        "with cloud.policy = 'timelyfl' each gets its own part",
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

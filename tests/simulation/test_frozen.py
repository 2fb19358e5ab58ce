"""What is frozen of a model: training is as if it were averaged with the rest, and it travels once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fogline
from fogline import JobError, Task, Tier, Tree
from fogline.data import Examples, from_clients
from fogline.monitoring.folder import RunFolder
from fogline.params import Params, frozen_of, save, to_bytes
from fogline.simulation import setup

CLIENTS, FEATURES, WIDTH = 4, 6, 32
STAR, TREE = Tree(), Tree(cloud=Tier(), fog=Tier(count=2))
MOVING = Tree(cloud=Tier(), fog=Tier(count=2, rounds=2))
RECEIPT = 128


def client(seed: int, count: int = 20) -> Examples:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, FEATURES)).astype(np.float32)
    return Examples(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64))


class Kept(nn.Module):
    """A linear layer that does not train, as buffers: what aggregators average like a running mean."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(FEATURES, WIDTH)
        self.register_buffer("weight", layer.weight.detach())
        self.register_buffer("bias", layer.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.weight, torch.Tensor)
        assert isinstance(self.bias, torch.Tensor)
        return functional.linear(x, self.weight, self.bias)


def on(body: Callable[[], nn.Module]) -> Task:
    data = from_clients("made", {f"c{i}": client(i) for i in range(CLIENTS)}, classes=2, test=client(99, 50))
    return Task(lambda: nn.Sequential(body(), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2)), data)


def frozen() -> Task:
    return on(lambda: nn.Linear(FEATURES, WIDTH).requires_grad_(False))


def simulate(task: Task, tree: Tree = STAR, rounds: int = 3, **settings: Any) -> fogline.Result:
    settings = {"processes": 0, "progress": False, "engine": "loop"} | settings
    return fogline.simulate(task, tree=tree, rounds=rounds, **settings)


def equal(one: Params, other: Params) -> bool:
    """By name: where an entry lies in memory depends on its role."""
    mine, theirs = one.arrays(), other.arrays()
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def file_of(params: Params) -> int:
    part = frozen_of(params)
    assert part is not None
    return len(to_bytes(part))


@pytest.mark.parametrize("tree", [STAR, TREE, MOVING], ids=["star", "tree", "fogs that move"])
@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
def test_a_frozen_body_gives_the_bits_of_one_that_is_averaged(tree: Tree, algorithm: str) -> None:
    one, other = (simulate(task, tree, algorithm=algorithm) for task in (frozen(), on(Kept)))
    assert equal(one.params, other.params)
    assert [row["loss"] for row in one.history] == [row["loss"] for row in other.history]
    body = FEATURES * WIDTH + WIDTH
    for tier in tree.names:
        less = other.history[-1][f"up/{tier}"] - one.history[-1][f"up/{tier}"]
        assert less == pytest.approx(4 * body * one.history[-1][f"up/{tier}"] / update(one, tier), rel=1e-6)


def update(result: fogline.Result, tier: str) -> float:
    """Bytes of one message that goes up below a tier, from what all of them take."""
    senders = CLIENTS if tier == result.job.tree.names[-1] else 2
    times = 2 if tier != result.job.tree.names[0] and result.job.tree.tiers[tier].rounds == 2 else 1
    return result.history[-1][f"up/{tier}"] / (len(result.history) * senders * times)


def sizes(monkeypatch: pytest.MonkeyPatch) -> list[setup.Sizes]:
    """What a run's messages take, once it was begun."""
    seen: list[setup.Sizes] = []
    made = setup.simulator_of

    def noted(setting: Any, trainer: Any, sizes: setup.Sizes, *rest: Any) -> Any:
        seen.append(sizes)
        return made(setting, trainer, sizes, *rest)

    monkeypatch.setattr("fogline.simulation.run.simulator_of", noted)
    return seen


def test_it_goes_down_once_to_each_node_and_costs_its_bytes_time_and_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, link = sizes(monkeypatch), 1e5
    devices = {"up": link, "down": link, "rtt": 0.0, "loss": 0.0, "radio_joules_per_mb": 1.0, "compute_watts": 0.0}
    result = simulate(frozen(), TREE, devices=devices, links={"up": link, "down": link, "rtt": 0.0})
    once, per_round = file_of(result.params), seen[0].down
    assert seen[0].frozen == once > 4 * FEATURES * WIDTH
    for row, rounds in zip(result.history, range(1, 4), strict=True):
        for tier, nodes in (("cloud", 2), ("fog", CLIENTS)):
            assert row[f"down/{tier}"] == nodes * (once + rounds * (per_round + RECEIPT))
    first, second, third = (row["seconds"] for row in result.history)
    assert first - (third - second) == pytest.approx(2 * once / link), "over two links, before the first round"
    assert third - second == pytest.approx(second - first)
    joules = [row["joules"] for row in result.history]
    assert joules[0] - (joules[2] - joules[1]) == pytest.approx(CLIENTS * once / 1e6, rel=0.01)


def test_who_judges_before_it_trains_gets_it_then_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = sizes(monkeypatch)
    tree = Tree(cloud=Tier(cohort=1, policy="uniform"))
    result = simulate(frozen(), tree, evaluation={"where": "devices", "share": 0.2})
    first, second, third = (row["down/cloud"] for row in result.history)  # Written before devices judge.
    once, per_model = seen[0].frozen, seen[0].down + RECEIPT
    assert first == once + per_model, "one trains"
    assert second - first == (CLIENTS - 1) * once + (CLIENTS + 1) * per_model, "all judge, then one trains"
    assert third - second == (CLIENTS + 1) * per_model


def test_a_request_is_not_taken_up_before_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than a round may: the rounds that pass meanwhile count nobody, also not by a second request."""
    seen = sizes(monkeypatch)
    devices = {"up": 1e6, "down": 500.0, "rtt": 0.0, "loss": 0.0}
    result = simulate(frozen(), Tree(cloud=Tier(deadline=2.0)), rounds=6, devices=devices)
    first = result.history[0]["seconds"]
    assert first >= (seen[0].frozen + seen[0].down) / 500 > 2.0


@pytest.mark.parametrize("after", [1, 4])
def test_a_run_goes_on_as_if_nothing_had_been(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = tmp_path / "start.safetensors"
    save(start, frozen().initial(7))

    def begun(folder: str) -> fogline.Result:
        return simulate(frozen(), TREE, 6, start=start, folder=tmp_path / folder, resume=True)

    whole = begun("whole")
    append = RunFolder.append

    def appended(self: RunFolder, row: dict[str, float]) -> None:
        append(self, row)
        if row["round"] == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "append", appended)
        with pytest.raises(KeyboardInterrupt):
            begun("cut")
    after_all = begun("cut")
    assert equal(after_all.params, whole.params)
    same = [[{k: v for k, v in row.items() if k != "wall"} for row in each.history] for each in (after_all, whole)]
    assert same[0] == same[1]


def test_a_run_from_a_file_has_what_is_frozen_there(tmp_path: Path) -> None:
    other = frozen().initial(7)
    save(tmp_path / "start.safetensors", other)
    result = simulate(frozen(), start=tmp_path / "start.safetensors")
    mine, theirs, made = (frozen_of(params) for params in (result.params, other, frozen().initial(0)))
    assert mine is not None
    assert theirs is not None
    assert made is not None
    assert np.array_equal(mine.vector, theirs.vector)
    assert not np.array_equal(mine.vector, made.vector)


class Tied(nn.Module):
    """Input and output share a frozen embedding; an adapter between them trains."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 8).requires_grad_(False)
        self.adapter = nn.Linear(8, 8)
        self.output = nn.Linear(8, 5, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.output(self.adapter(self.embedding(ids)))


def test_tied_weights_that_are_frozen_travel_once_as_one() -> None:
    rng = np.random.default_rng(0)
    data = from_clients(
        "ids",
        {f"c{i}": Examples(rng.integers(0, 5, (20, 3)), rng.integers(0, 5, (20, 3))) for i in range(3)},
        classes=5,
    )
    result = simulate(Task(Tied, data, class_axis=-1), rounds=2)
    part = frozen_of(result.params)
    assert part is not None
    assert [entry.name for entry in part.spec.entries] == ["embedding.weight"]
    assert np.array_equal(part.vector, Task(Tied, data, class_axis=-1).initial(0).view("embedding.weight").ravel())


def lazy() -> nn.Module:
    layer = nn.LazyLinear(WIDTH)
    for parameter in layer.parameters():
        parameter.requires_grad = False
    return layer


def test_a_lazy_body_that_is_frozen_is_as_one_with_sizes() -> None:
    one, other = simulate(on(lazy)), simulate(frozen())
    assert one.params.spec == other.params.spec
    assert file_of(one.params) == file_of(other.params)
    assert one.history[-1]["down/cloud"] == other.history[-1]["down/cloud"]


def test_where_all_is_frozen_there_is_nothing_to_learn() -> None:
    data = from_clients("made", {"c": client(0)}, classes=2)
    with pytest.raises(JobError, match="no trainable parameters"):
        simulate(Task(lambda: nn.Linear(FEATURES, 2).requires_grad_(False), data))


def test_what_was_trained_before_may_be_frozen_now(tmp_path: Path) -> None:
    before = simulate(on(lambda: nn.Linear(FEATURES, WIDTH))).params
    save(tmp_path / "start.safetensors", before)
    params = simulate(frozen(), start=tmp_path / "start.safetensors").params
    assert np.array_equal(params.view("0.weight"), before.view("0.weight"))
    assert not np.array_equal(params.view("3.weight"), before.view("3.weight"))
    save(tmp_path / "wider.safetensors", on(lambda: nn.Linear(FEATURES, WIDTH, bias=False)).initial(0))
    with pytest.raises(JobError, match="holds another model than task"):
        simulate(frozen(), start=tmp_path / "wider.safetensors")


@pytest.mark.parametrize("tree", [STAR, TREE], ids=["star", "tree"])
def test_a_head_of_ones_own_on_a_frozen_body(tree: Tree) -> None:
    one, other = (simulate(task, tree, algorithm="fedper") for task in (frozen(), on(Kept)))
    assert equal(one.params, other.params)
    assert set(one.params.arrays()) == {"0.weight", "0.bias", "1.weight", "1.bias", *STATISTICS}
    assert [row["loss"] for row in one.history] == [row["loss"] for row in other.history]


STATISTICS = ("1.running_mean", "1.running_var", "1.num_batches_tracked")

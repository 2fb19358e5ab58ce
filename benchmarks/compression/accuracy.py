"""Bytes to the target accuracy, for every code against float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

import fogline
from benchmarks.accuracy.runs import best_accuracy, reach
from benchmarks.common import console, median
from benchmarks.few_images import few_images
from fogline import Task, Tier, Tree, simulate
from fogline.algorithms import METHODS
from fogline.data import FederatedData, from_clients
from fogline.monitoring.result import Result
from fogline.training.torch.models import mlp

DEVICES, IMAGES, TESTED = 10, 200, 4000
NEAR, FAR = 0.005, 0.02
"""Of the best accuracy of float32, how much may be lost."""
PATIENCE = 3
"""Times the rounds of float32 that a code may take."""
UP, DOWN = "up/cloud", "down/cloud"


@dataclass(frozen=True)
class Setting:
    """Stages of the two directions, and the method if it is another than FedAvg."""

    up: str = ""
    down: tuple[str, ...] = ()
    method: str = "fedavg"

    def __str__(self) -> str:
        method = "" if self.method == "fedavg" else self.method
        return " / ".join(filter(None, (method, self.up, " + ".join(self.down)))) or "float32"

    def tree(self, cohort: int) -> Tree:
        """A star with them, so many devices in a round."""
        return Tree(cloud=Tier(cohort=cohort, uplink=[self.up] if self.up else [], downlink=self.down))


@dataclass(frozen=True)
class Case:
    """A model on data that differ by device."""

    name: str
    module: Callable[[], nn.Module]
    data: Callable[[int], FederatedData]
    rate: float
    rounds: int
    """Of float32."""


def cnn() -> nn.Module:
    """Convolutions of 16 and 32 maps, 128 units: 80,202 numbers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def har() -> nn.Module:
    """Windows of nine signals, two convolutions over time, six activities: 44,818 numbers."""
    return nn.Sequential(
        *(nn.Conv1d(9, 24, 9), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(24, 32, 9), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Flatten(), nn.Linear(352, 100), nn.ReLU(), nn.Linear(100, 6)),
    )


def images(name: str, seed: int, flat: bool) -> FederatedData:
    """Some of a data set's images on ten devices, Dirichlet(0.3) by class."""
    parts, test = few_images(name, DEVICES, IMAGES, TESTED, seed, flat)
    data = {f"device-{place}": (part.x, part.y) for place, part in enumerate(parts)}
    return from_clients(name, data, test=(test.x, test.y), classes=10)


CASES = (
    Case("2nn_mnist", mlp, lambda seed: images("mnist", seed, True), 0.1, 40),
    Case("cnn_fashion_mnist", cnn, lambda seed: images("fashion_mnist", seed, False), 0.05, 40),
    Case("uci_har", har, lambda _: fogline.load("uci_har"), 0.1, 40),
)
PLAIN = Setting()
BOTH = tuple(
    Setting(up, down)
    for up in ("stc(share=0.01)", "powersgd(rank=1)")
    for down in (
        ("int4",),
        ("eden(bits=3)",),
        ("eden(bits=2)",),
        ("delta", "eden(bits=2)"),
        ("delta", "stc(share=0.04, feedback=false)"),
        ("delta", "stc(share=0.01, feedback=false)"),
    )
)
SETTINGS = tuple(
    Setting(up)
    for up in (
        "int8",
        "int4",
        "eden(bits=2)",
        "eden(bits=1)",
        "sign",
        "drive",
        "top_k(share=0.01)",
        "stc(share=0.04)",
        "stc(share=0.01)",
        "stc(share=0.0025)",
        "random_k(share=0.02)",
        "subspace(share=0.02)",
        "powersgd(rank=1)",
        "powersgd(rank=2)",
    )
)
METHODS_OF_THEIR_OWN = (
    Setting("ef21('stc(share=0.01)')", method="ef21"),
    Setting("ef21('top_k(share=0.01)')", method="ef21"),
    Setting(method="fetchsgd"),
    Setting(method="fetchsgd(momentum=0.0, server_rate=1.0)"),
)
"""Where the root does more than add up."""
QUICK = (Setting("stc(share=0.01)"), Setting("stc(share=0.01)", ("eden(bits=3)",)))


def measured(cases: Sequence[Case], settings: Sequence[Setting], seeds: int, pace: float = 1.0) -> dict[str, Any]:
    """By case and setting, the medians over the seeds; and the settings that spare most in every case."""
    found = {case.name: _case(case, settings, seeds, pace) for case in cases}
    result: dict[str, Any] = {"cases": found}
    one_way = [setting for setting in settings if not setting.down]
    two_ways = [setting for setting in settings if setting.down]
    for key, some, what in (
        ("uplink", one_way, "near"),
        ("far_uplink", one_way, "far"),
        ("total", two_ways, "near_total"),
        ("far_total", two_ways, "far_total"),
    ):
        least = {str(each): min(rows[str(each)][what] for rows in found.values()) for each in some}
        if least:
            best = max(least, key=lambda name: least[name])
            result |= {f"{key}_setting": best, f"{key}_saving": least[best]}
    return result


def _case(case: Case, settings: Sequence[Setting], seeds: int, pace: float) -> dict[str, Any]:
    rows: dict[str, list[dict[str, float]]] = {str(setting): [] for setting in settings}
    rounds = max(2, round(case.rounds * pace))
    for seed in range(seeds):
        data = case.data(seed)
        plain = _run(case, data, PLAIN, seed, rounds, None)
        best = best_accuracy(plain.history)
        console.print(f"{case.name}, seed {seed}: float32 {best:.2%} in {rounds} rounds", highlight=False)
        for setting in settings:
            coded = _run(case, data, setting, seed, PATIENCE * rounds, best - NEAR)
            rows[str(setting)].append(_compared(plain, coded, best))
            shown = ", ".join(f"{name} {value:.4g}" for name, value in rows[str(setting)][-1].items())
            console.print(f"{case.name}, seed {seed}: {setting}: {shown}", highlight=False)
    return {name: {key: round(median(one[key] for one in some), 2) for key in some[0]} for name, some in rows.items()}


def _run(case: Case, data: FederatedData, setting: Setting, seed: int, rounds: int, target: float | None) -> Result:
    evaluation: dict[str, Any] = {} if target is None else {"target": target, "stop_at_target": True}
    return simulate(
        Task(case.module, data),
        tree=setting.tree(DEVICES),
        algorithm=METHODS.read(setting.method),
        rounds=rounds,
        local={"learning_rate": case.rate, "batch_size": 20, "epochs": 1},
        evaluation={"every": 1, **evaluation},
        seed=seed,
        processes=0,
        progress=False,
    )


def _compared(plain: Result, coded: Result, best: float) -> dict[str, float]:
    """How many times fewer bytes a code takes to the two targets, 0 where it does not get there."""
    for history in (plain.history, coded.history):
        for row in history:
            row["total"] = row[UP] + row[DOWN]
    compared = {"points": 100 * (best_accuracy(coded.history) - best)}
    for key, lost in (("near", NEAR), ("far", FAR)):
        for name, axis in ((key, UP), (f"{key}_total", "total")):
            needed, spent = (reach(run.history, best - lost, axis) for run in (plain, coded))
            compared[name] = needed / spent if needed is not None and spent is not None else 0.0
    slower = [reach(run.history, best - NEAR) or math.inf for run in (plain, coded)]
    return compared | {"rounds": slower[1] / slower[0] if math.isfinite(slower[1]) else 0.0}

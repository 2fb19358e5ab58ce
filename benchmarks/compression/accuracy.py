"""Bytes to the target accuracy, for every code against float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

import fogline
from benchmarks.accuracy.runs import HEADLINE, Row, best_accuracy, digest, judged, reach
from benchmarks.common import SCRATCH, console, kept, median
from benchmarks.few_images import few_images
from fogline import Task, Tier, Tree, simulate
from fogline.algorithms import METHODS
from fogline.data import FederatedData, from_clients
from fogline.training.torch.models import mlp

DEVICES, IMAGES, TESTED = 10, 200, 4000
NEAR, FAR = 0.005, 0.02
"""Of the best accuracy of float32, how much may be lost."""
PATIENCE = 3
"""Times the rounds of float32 that a code may take."""
UP, DOWN, TOTAL = "up/cloud", "down/cloud", "total"
EVERY = 2
"""Rounds between two judgements; between them, accuracy is taken to grow evenly."""
STATE = SCRATCH / "compression"
"""What was run, run by run, so that a benchmark that was ended goes on where it was."""


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
    """Convolutions of 8 and 16 maps, every second place, and 256 units: 71,786 numbers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)),
    )


def har() -> nn.Module:
    """Windows of nine signals, two convolutions over time, six activities: 44,818 numbers."""
    return nn.Sequential(
        *(nn.Conv1d(9, 24, 9, stride=4), nn.ReLU(), nn.Conv1d(24, 32, 9, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(352, 100), nn.ReLU(), nn.Linear(100, 6)),
    )


def images(name: str, seed: int, flat: bool) -> FederatedData:
    """Some of a data set's images on ten devices, Dirichlet(0.3) by class."""
    parts, test = few_images(name, DEVICES, IMAGES, TESTED, seed, flat)
    data = {f"device-{place}": (part.x, part.y) for place, part in enumerate(parts)}
    return from_clients(name, data, test=(test.x, test.y), classes=10)


CASES = (
    Case("2nn_mnist", mlp, lambda seed: images("mnist", seed, True), 0.1, 30),
    Case("cnn_fashion_mnist", cnn, lambda seed: images("fashion_mnist", seed, False), 0.1, 40),
    Case("uci_har", har, lambda _: fogline.load("uci_har"), 0.1, 40),
)
LOCAL: Mapping[str, Any] = {"batch_size": 20, "steps": 10}
PLAIN = Setting()
BOTH = tuple(
    Setting("stc(share=0.01)", down)
    for down in (
        ("eden(bits=2)",),
        ("delta", "stc(share=0.04, feedback=false)"),
        ("delta", "stc(share=0.01, feedback=false)"),
    )
)
SETTINGS = tuple(
    Setting(up)
    for up in (
        *("bf16", "fp16", "int8", "qsgd", "int4", "eden(bits=2)", "eden(bits=1)", "drive", "sign"),
        *("top_k(share=0.01)", "stc(share=0.04)", "stc(share=0.01)", "stc(share=0.0025)"),
        *("random_k(share=0.02)", "subspace(share=0.02)", "powersgd(rank=1)"),
    )
)
METHODS_OF_THEIR_OWN = (
    Setting("ef21('stc(share=0.01)')", method="ef21"),
    Setting("stc(share=0.01, feedback=false)", method="cafe"),
    Setting(method="fetchsgd"),
)
"""Where the root does more than add up."""
QUICK = (Setting("stc(share=0.01)"), Setting("stc(share=0.01)", ("delta", "stc(share=0.01, feedback=false)")))


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
        least = {str(each): min(rows["codes"][str(each)][what] for rows in found.values()) for each in some}
        if least:
            best = max(least, key=lambda name: least[name])
            result |= {f"{key}_setting": best, f"{key}_saving": least[best]}
    return result


def _case(case: Case, settings: Sequence[Setting], seeds: int, pace: float) -> dict[str, Any]:
    rows: dict[str, list[dict[str, float]]] = {str(setting): [] for setting in settings}
    rounds, accuracies = max(2, round(case.rounds * pace)), list[float]()
    for seed in range(seeds):
        task = Task(case.module, case.data(seed))
        plain = run(case, task, PLAIN, seed, rounds)
        accuracies.append(best := best_accuracy(plain))
        console.print(f"{case.name}, seed {seed}: float32 {best:.2%} in {rounds} rounds", highlight=False)
        for setting in settings:
            coded = run(case, task, setting, seed, PATIENCE * rounds, best - NEAR)
            rows[str(setting)].append(compared(plain, coded, best))
            shown = ", ".join(f"{name} {value:.4g}" for name, value in rows[str(setting)][-1].items())
            console.print(f"{case.name}, seed {seed}: {setting}: {shown}", highlight=False)
    codes = {name: {key: round(median(one[key] for one in some), 2) for key in some[0]} for name, some in rows.items()}
    return {"float32": round(100 * median(accuracies), 2), "rounds": rounds, "codes": codes}


def run(
    case: Case,
    task: Task,
    setting: Setting,
    seed: int,
    rounds: int,
    target: float | None = None,
    counted: Callable[[Sequence[Row]], Sequence[Row]] = list,
) -> Sequence[Row]:
    """The judged rounds of a run, to the target if there is one: what was sent until then, and the accuracy; read if it
    was made before. ``counted`` may give other bytes than those of the links."""
    settings: dict[str, Any] = {
        "tree": setting.tree(DEVICES),
        "rounds": rounds,
        "local": {"learning_rate": case.rate, **LOCAL},
        "evaluation": {"every": EVERY, "target": target, "stop_at_target": target is not None},
        "seed": seed,
    }

    def made() -> Sequence[Row]:
        algorithm = METHODS.read(setting.method)
        history = simulate(task, algorithm, **settings, processes=0, progress=False).history
        return counted([{key: row[key] for key in ("round", HEADLINE, UP, DOWN)} for row in judged(history)])

    found = kept(STATE / case.name / f"{digest(task, setting.method, settings)}.json", made)
    return [{**row, TOTAL: row[UP] + row[DOWN]} for row in found]


def compared(plain: Sequence[Row], coded: Sequence[Row], best: float) -> dict[str, float]:
    """How many times fewer bytes a code takes to the two targets, 0 where it does not get there."""
    compared = {"points": 100 * (best_accuracy(coded) - best)}
    for key, lost in (("near", NEAR), ("far", FAR)):
        for name, axis in ((key, UP), (f"{key}_total", TOTAL)):
            needed, spent = (reach(history, best - lost, axis) for history in (plain, coded))
            compared[name] = needed / spent if needed is not None and spent is not None else 0.0
    slower = [reach(history, best - NEAR) or math.inf for history in (plain, coded)]
    return compared | {"rounds": slower[1] / slower[0] if math.isfinite(slower[1]) else 0.0}

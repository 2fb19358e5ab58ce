"""Unequal speeds: the virtual time that ways to wait for devices take to the same accuracy.

    python -m benchmarks.asynchrony [--seeds N] [--target SHARE] [--ways NAME ...]

A hundred phones with 100 images of fashion_mnist each, 14 x 14 pixels, Dirichlet(0.3) by class; twenty train at once.
Speeds are those of phones on the market (ai-benchmark.com's list, of FLASH), and the slowest decile is ten times slower
than the median; links are measured 5G and 4G, second by second. All are there all the time, and none drops out. A
network with a hidden layer of 64 is trained, two passes a round in batches of 20, the same rate for all; the clock
charges 60 MFLOP an example, as a small convolutional network takes, so that computing counts beside the links.

- ``seconds``: virtual time until the model reaches the target on 2,000 test images; the median over the seeds, null
  where most did not reach it.
- ``over_sync``: how many times sooner than synchronous rounds, the median over the seeds; ``best`` is which way is the
  soonest, and ``best_over_sync`` its quotient.
- ``accuracy``: in per cent, the best of a run, which ends at the target; ``updates``: that were folded until then, or
  until the end; medians.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from benchmarks.common import console, median, report
from benchmarks.few_images import few_images
from benchmarks.heterogeneous import smaller
from fogline import Task, Tier, Tree, simulate
from fogline.data import FederatedData, from_clients
from fogline.simulation.profiles.profile import DeviceProfile

DEVICES, IMAGES, TESTED, AT_ONCE = 100, 100, 2000, 20
CHARGED = 60.0
"""MFLOP an example, forward and backward."""
SLOWER, DECILE = 10.0, 0.1
SYNC = "sync"


def network() -> nn.Module:
    """13,258 numbers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))


def phones(cost: float) -> dict[str, Any]:
    """Phones on measured links, the slowest decile ten times slower than the median. ``cost``: of the network."""
    table = {name: np.asarray(column) for name, column in DeviceProfile.model_validate("traces").tables[0].items()}
    speed = table["speed"]
    slowed = np.where(speed <= np.quantile(speed, DECILE), np.median(speed) / SLOWER, speed)
    table["speed"] = slowed * cost / CHARGED
    columns = {name: tuple(column.tolist()) for name, column in table.items()}
    return {"preset": "traces", "tables": [columns], "availability": "always", "dropout": 0.0}


def images(seed: int) -> FederatedData:
    """Those of a seed."""
    few, test = few_images("fashion_mnist", DEVICES, IMAGES, TESTED, seed)
    parts = {f"phone-{place}": (smaller(part.x), part.y) for place, part in enumerate(few)}
    return from_clients("fashion_mnist", cast("Any", parts), test=(smaller(test.x), test.y), classes=10)


class Way(NamedTuple):
    """A way to wait for devices: a method, and its tiers."""

    method: str
    tree: Tree
    rounds: int = 300
    """As many as it may make."""
    every: int = 1
    """Rounds between two judgements."""


def star(cohort: int = AT_ONCE, **tier: Any) -> Tree:
    """One aggregator."""
    return Tree(cloud=Tier(cohort=cohort, **tier))


FOGS = Tree(cloud=Tier(), fog=Tier(count=5, cohort=AT_ONCE // 5))
LEARNED: dict[str, Any] = {"over_selection": "auto", "deadline": "auto"}
WAYS: Mapping[str, Way] = {
    SYNC: Way("fedavg", star()),
    "over_selected": Way("fedavg", star(over_selection=1.3)),
    "learned": Way("fedavg", star(**LEARNED)),
    "timelyfl": Way("fedavg", star(policy="timelyfl", **LEARNED)),
    "fedbuff": Way("fedbuff", star(), 1500, 2),
    "fedbuff_fogs": Way("fedbuff", FOGS, 1500, 2),
    "ca2fl": Way("ca2fl", star(), 1500, 2),
    "ace": Way("ace", star(stale="clip"), 6000, 10),
    "fedat": Way("fedat", star(AT_ONCE // 5, staleness_cap=10_000), 800, 4),
    "fedasync": Way("fedasync", star(), 6000, 10),
}


class Outcome(NamedTuple):
    """Of a run."""

    seconds: float
    """Infinite where it did not reach the target."""
    accuracy: float
    updates: float


def run(way: Way, task: Task, seed: int, target: float) -> Outcome:
    """One run, to the target or as far as it may go."""
    result = simulate(
        task,
        way.method,
        way.tree,
        rounds=way.rounds,
        local={"learning_rate": 0.05, "batch_size": 20, "epochs": 2},
        devices=phones(task.cost),
        evaluation={"every": way.every, "target": target, "stop_at_target": True},
        seed=seed,
        processes=0,
        progress=False,
    )
    best = max(row["accuracy"] for row in result.history if "accuracy" in row)
    seconds = math.inf if result.reached is None else result.reached.seconds
    return Outcome(seconds, 100 * best, sum(row["updates"] for row in result.history))


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--target", type=float, default=0.8)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    ways = list(dict.fromkeys([SYNC, *asked.ways]))
    found: dict[str, list[Outcome]] = {way: [] for way in ways}
    for seed in range(asked.seeds):
        task = Task(network, images(seed))
        for way in ways:
            found[way].append(outcome := run(WAYS[way], task, seed, asked.target))
            console.print(f"seed {seed}: {way} {outcome.seconds:.0f} s, {outcome.accuracy:.1f} %")
    sync = found[SYNC]
    over = {
        way: median(plain.seconds / one.seconds for plain, one in zip(sync, outcomes, strict=True))
        for way, outcomes in found.items()
        if all(math.isfinite(plain.seconds) for plain in sync)
    }
    seconds = {way: median(one.seconds for one in outcomes) for way, outcomes in found.items()}
    best = max(over, key=over.__getitem__, default="")
    result = {
        "seconds": {way: round(value, 1) if math.isfinite(value) else None for way, value in seconds.items()},
        "over_sync": {way: round(value, 2) for way, value in over.items()},
        "best": best,
        "best_over_sync": round(over[best], 2) if best else None,
        "accuracy": {way: round(median(one.accuracy for one in them), 2) for way, them in found.items()},
        "updates": {way: median(one.updates for one in them) for way, them in found.items()},
        "target": 100 * asked.target,
        "seeds": asked.seeds,
    }
    report("asynchrony", result, keep=set(ways) == set(WAYS))


if __name__ == "__main__":
    main()

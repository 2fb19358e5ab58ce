"""Unequal speeds: the virtual time that ways to wait for devices take to the same accuracy.

    python -m benchmarks.asynchrony [--seeds N] [--target SHARE] [--quick]

A hundred phones with 100 images of fashion_mnist each, 14 x 14 pixels, Dirichlet(0.3) by class; twenty train at once.
Their speeds are those of the phones on the market (ai-benchmark.com's list, of FLASH), of which the slowest decile is
made ten times slower; their links are measured 5G and 4G, second by second. A network with one hidden layer of 64 is
trained, two passes a round in batches of 20, the same rate for all; the clock charges 60 MFLOP an example, as for a
small convolutional network, so that computing counts beside the links. All are there all the time, and none drops out.

- ``seconds``: virtual time until the model reaches the target on 2,000 test images; the median over the seeds, and
  none where a run did not reach it.
- ``over_sync``: how many times faster than synchronous rounds, the median over the seeds. ``best``: which is fastest;
  ``best_over_sync``: its quotient.
- ``accuracy``: in per cent, the best of each run, up to the target where it was reached.
- ``updates``, ``slow``: updates that were folded until then, and in per cent how many of them were of the slow decile.
- ``processor_seconds``: of the whole program.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from benchmarks.common import console
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


def phones() -> dict[str, Any]:
    """Phones on measured links, the slowest decile of them ten times slower."""
    known = DeviceProfile.model_validate("traces")
    table = {name: np.asarray(column) for name, column in known.tables[0].items()}
    speed = table["speed"]
    slowed = np.where(speed <= np.quantile(speed, DECILE), np.median(speed) / SLOWER, speed)
    table["speed"] = slowed / (CHARGED / mflop())
    columns = {name: tuple(column.tolist()) for name, column in table.items()}
    return {"preset": "traces", "tables": [columns], "availability": "always", "dropout": 0.0}


def mflop() -> float:
    """What the network that is trained here costs."""
    return Task(network, from_clients("none", {"one": (np.zeros((1, 196), np.float32), np.zeros(1, np.int64))})).cost


def images(seed: int) -> FederatedData:
    """Those of a seed."""
    few, test = few_images("fashion_mnist", DEVICES, IMAGES, TESTED, seed)
    parts = {f"phone-{place}": (smaller(part.x), part.y) for place, part in enumerate(few)}
    return from_clients("fashion_mnist", cast("Any", parts), test=(smaller(test.x), test.y), classes=10)


class Way(NamedTuple):
    """A way to wait for devices."""

    method: str
    tier: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it.
    """What stands in the tier beside the cohort."""
    cohort: int = AT_ONCE
    rounds: int = 300
    """As many as it may make."""
    every: int = 1
    """Rounds between two judgements."""


WAYS: Mapping[str, Way] = {
    SYNC: Way("fedavg"),
    "over_selected": Way("fedavg", {"over_selection": 1.3}),
    "fedbuff": Way("fedbuff", rounds=1500, every=2),
    "fedat": Way("fedat", {"staleness_cap": 10_000}, AT_ONCE // 5, 1500, 4),
    "fedasync": Way("fedasync", rounds=8000, every=10),
}


class Outcome(NamedTuple):
    """Of a run."""

    seconds: float | None
    accuracy: float
    updates: int
    slow: float


def run(way: Way, data: FederatedData, seed: int, target: float) -> Outcome:
    """One run, to the target or as far as it may go."""
    fleet = phones()
    result = simulate(
        Task(network, data),
        way.method,
        Tree(cloud=Tier(cohort=way.cohort, **way.tier)),
        rounds=way.rounds,
        local={"learning_rate": 0.05, "batch_size": 20, "epochs": 2},
        devices=fleet,
        evaluation={"every": way.every, "target": target, "stop_at_target": True},
        seed=seed,
        processes=0,
        progress=False,
    )
    best = max(row["accuracy"] for row in result.history if "accuracy" in row)
    seconds = None if result.reached is None else result.reached.seconds
    console.print(result.counts, result.history[-1]["seconds"])
    return Outcome(seconds, 100 * best, int(sum(row["updates"] for row in result.history)), 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--target", type=float, default=0.8)
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in range(asked.seeds):
        data = images(seed)
        for way in asked.ways:
            t = time.process_time()
            r = run(WAYS[way], data, seed, asked.target)
            console.print(seed, way, r, round(time.process_time() - t, 1))


if __name__ == "__main__":
    main()

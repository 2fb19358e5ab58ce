"""Unequal speeds: the virtual time that ways to wait for devices take to the same accuracy.

    python -m benchmarks.asynchrony [--seeds N] [--populations NAME ...] [--ways NAME ...]

A hundred phones with 100 images of fashion_mnist each, 14 x 14 pixels; twenty train at once. Speeds are those of phones
on the market (ai-benchmark.com's list, of FLASH), and the slowest decile is ten times slower than the median; links are
measured 5G and 4G, second by second. All are there all the time, and none drops out. A network with a hidden layer of
64 is trained, two passes a round in batches of 20, the same rate for all; the clock charges 60 MFLOP an example, as a
small convolutional network takes, so that computing counts beside the links.

Two populations: in ``apart`` data has nothing to do with speed (Dirichlet(0.3) by class). In ``tied`` the ten slowest
phones have all images of bags that there are, and nothing else, and the others the nine other classes (Dirichlet(0.3)).
Of each, in the JSON line:

- ``seconds``: virtual time until the model reaches the target on 2,000 test images; the median over the seeds, null
  where most did not reach it.
- ``over_sync``: how many times sooner than synchronous rounds, the median over the seeds; ``best`` is which way is the
  soonest, and ``best_over_sync`` its quotient.
- ``accuracy``: in per cent, the best of a run, which ends at the target; ``updates``: that were folded until then, or
  until the end; ``bags``: in per cent, the bags that the last model takes for bags; medians.

``best_over_sync`` beside them is the least over the populations.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from benchmarks.accuracy.runs import digest
from benchmarks.common import SCRATCH, console, kept, median, report
from benchmarks.few_images import few_images
from benchmarks.heterogeneous import smaller
from fogline import Task, Tier, Tree, simulate
from fogline.data import Examples, FederatedData, from_clients
from fogline.params import Params
from fogline.simulation.profiles import fleet_of
from fogline.simulation.profiles.profile import DeviceProfile

DEVICES, IMAGES, TESTED, AT_ONCE = 100, 100, 2000, 20
CHARGED = 60.0
"""MFLOP an example, forward and backward."""
SLOWER, DECILE = 10.0, 0.1
BAGS, SLOW = 8, 10
"""A class, and how many phones have it where data is tied to speed."""
SYNC = "sync"
STATE = SCRATCH / "asynchrony"
"""What was run, run by run, so that a benchmark that was ended goes on where it was."""


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


def apart(seed: int) -> FederatedData:
    """Images of a seed, whatever a phone's speed."""
    return _population(*few_images("fashion_mnist", DEVICES, IMAGES, TESTED, seed))


def tied(seed: int) -> FederatedData:
    """The same, where only the slowest phones have bags, and nothing else."""
    parts, test = few_images("fashion_mnist", DEVICES, sys.maxsize, TESTED, seed)
    bags = [part.part(np.flatnonzero(part.y == BAGS)) for part in parts]
    others = [part.part(np.flatnonzero(part.y != BAGS)[:IMAGES]) for part in parts]
    pool = Examples(np.concatenate([cast("Any", part.x) for part in bags]), np.concatenate([part.y for part in bags]))
    fleet = fleet_of(phones(CHARGED), DEVICES, seed)
    slowest = sorted(range(DEVICES), key=fleet.speed_hint)[:SLOW]
    for turn, place in enumerate(slowest):
        others[place] = pool.part(slice(turn * IMAGES, (turn + 1) * IMAGES))
    return _population(others, test)


def _population(parts: Sequence[Examples], test: Examples) -> FederatedData:
    data = {f"phone-{place}": (smaller(part.x), part.y) for place, part in enumerate(parts)}
    return from_clients("fashion_mnist", cast("Any", data), test=(smaller(test.x), test.y), classes=10)


class Population(NamedTuple):
    """Who has what, and the accuracy to be reached."""

    data: Callable[[int], FederatedData]
    target: float


POPULATIONS: Mapping[str, Population] = {"apart": Population(apart, 0.8), "tied": Population(tied, 0.78)}


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
    bags: float


def run(way: Way, task: Task, seed: int, target: float) -> Outcome:
    """One run, to the target or as far as it may go; read if it was made before."""
    settings: dict[str, Any] = {
        "tree": way.tree,
        "rounds": way.rounds,
        "local": {"learning_rate": 0.05, "batch_size": 20, "epochs": 2},
        "devices": phones(task.cost),
        "evaluation": {"every": way.every, "target": target, "stop_at_target": True},
        "seed": seed,
    }

    def measured() -> dict[str, Any]:
        result = simulate(task, way.method, **settings, processes=0, progress=False)
        return {
            "seconds": None if result.reached is None else result.reached.seconds,  # JSON has no infinity.
            "accuracy": 100 * max(row["accuracy"] for row in result.history if "accuracy" in row),
            "updates": sum(row["updates"] for row in result.history),
            "bags": 100 * _recall(task, result.params),
        }

    found = kept(STATE / f"{digest(task, way.method, settings)}.json", measured)
    return Outcome(**{**found, "seconds": math.inf if found["seconds"] is None else found["seconds"]})


def _recall(task: Task, params: Params) -> float:
    assert task.data.test is not None
    bags = task.data.test.part(np.flatnonzero(task.data.test.y == BAGS))
    return task.metrics(task.evaluate(params, bags))["accuracy"]


def compared(population: Population, ways: Sequence[str], seeds: int) -> dict[str, Any]:
    """All figures of a population."""
    found: dict[str, list[Outcome]] = {way: [] for way in ways}
    for seed in range(seeds):
        task = Task(network, population.data(seed))
        for way in ways:
            found[way].append(outcome := run(WAYS[way], task, seed, population.target))
            console.print(f"seed {seed}: {way} {outcome}", highlight=False)
    sync = found[SYNC]
    over = {
        way: median(plain.seconds / one.seconds for plain, one in zip(sync, outcomes, strict=True))
        for way, outcomes in found.items()
        if all(math.isfinite(plain.seconds) for plain in sync)
    }
    seconds = {way: median(one.seconds for one in outcomes) for way, outcomes in found.items()}
    best = max(over, key=over.__getitem__, default="")
    return {
        "seconds": {way: round(value, 1) if math.isfinite(value) else None for way, value in seconds.items()},
        "over_sync": {way: round(value, 2) for way, value in over.items()},
        "best": best,
        "best_over_sync": round(over[best], 2) if best else None,
        **{
            key: {way: round(median(getattr(one, key) for one in them), 2) for way, them in found.items()}
            for key in ("accuracy", "updates", "bags")
        },
        "target": 100 * population.target,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--populations", nargs="*", choices=POPULATIONS, default=list(POPULATIONS))
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    ways = list(dict.fromkeys([SYNC, *asked.ways]))
    found = {name: compared(POPULATIONS[name], ways, asked.seeds) for name in asked.populations}
    gained = [population["best_over_sync"] for population in found.values()]
    result = {**found, "best_over_sync": None if None in gained else min(gained), "seeds": asked.seeds}
    report("asynchrony", result, keep=set(ways) == set(WAYS) and set(found) == set(POPULATIONS))


if __name__ == "__main__":
    main()

"""How well the same model learns at the same ε with noise at the cloud, in the tree of DP-FTRL, and in shares.

What is protected is a device's whole data set, at δ = 1e-5. Devices have equal parts of the data at random. With noise
at the cloud and in shares all devices take part in every round, and none goes missing; in DP-FTRL each takes part in a
quarter of the rounds, in turns. Noise is what the job's accountant says that ε takes; nothing is gained from sampling.
The model is a softmax regression: at these ε and with a thousand devices, noise grows with the number of weights, and
larger ones learn less. Of a person's motion it sees nine statistics of each channel.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import mean
from typing import Any

import numpy as np
from rich.table import Table

import fogline
from benchmarks.accuracy.runs import digest
from benchmarks.common import SCRATCH, console, kept
from benchmarks.personal import statistics
from fogline.data import Examples, FederatedData, from_clients
from fogline.jobs import Job
from fogline.jobs.protection.protection import events_of
from fogline.privacy.accounting.accountants import least_noise
from fogline.simulation.run import run
from fogline.training.torch.models import mlp

DELTA = 1e-5
EPSILONS = (1.0, 2.0, 4.0, 8.0)
ROUNDS, TURNS = 16, 4
SEEDS = (0, 1, 2)
STATE = SCRATCH / "dp"
"""What was learnt, run by run, so that a benchmark that was ended goes on where it was."""
MECHANISMS = {"central": "gaussian", "ftrl": "ftrl", "distributed": "skellam(left=1.0)"}


@dataclass(frozen=True)
class Data:
    """A data set, and how it is learnt."""

    devices: int
    inputs: int
    outputs: int
    clip: float
    rate: float
    epochs: int = 1
    seen: Callable[[np.ndarray], np.ndarray] | None = None
    """What the model sees of examples, if not all their numbers."""


DATA = {
    "mnist": Data(1000, 784, 10, 0.6, 0.1),
    "fashion_mnist": Data(1000, 784, 10, 0.6, 0.1),
    "uci_har": Data(1000, 81, 6, 1.0, 0.5, 10, statistics),
}


def accuracy(quick: bool) -> dict[str, Any]:
    """Test accuracy in percent, by data set, ε and where noise is made; `distributed_minus_central` in points is the
    least of all. `plain` is the same without noise and clip."""
    cells: dict[str, dict[str, dict[str, float]]] = {}
    for name, data in list(DATA.items())[: 1 if quick else None]:
        plain = _mean(name, data, "plain", math.inf, quick)
        cells[name] = {
            f"{epsilon:g}": {"plain": plain} | {how: _mean(name, data, how, epsilon, quick) for how in MECHANISMS}
            for epsilon in (EPSILONS[-1:] if quick else EPSILONS)
        }
    console.print(_table(cells))
    differences = [cell["distributed"] - cell["central"] for row in cells.values() for cell in row.values()]
    return {"accuracy": cells, "distributed_minus_central": min(differences)}


def _mean(name: str, data: Data, how: str, epsilon: float, quick: bool) -> float:
    """Over seeds."""
    seeds = SEEDS[:1] if quick else SEEDS
    found = mean(_learnt(name, data, how, epsilon, seed, quick) for seed in seeds)
    console.print(f"{name}, {how}, ε = {epsilon:g}: {found:.2f}")
    return found


def _learnt(name: str, data: Data, how: str, epsilon: float, seed: int, quick: bool) -> float:
    devices, rounds = (100, 4) if quick else (data.devices, ROUNDS)
    given = _dealt(name, data, devices, seed)
    task = fogline.Task(partial(mlp, data.inputs, (), data.outputs), given, name="softmax")
    job = _job(how, data, rounds, seed)
    if job.privacy is not None:
        job = job.model_copy(update={"privacy": job.privacy.model_copy(update={"noise": _noise(job, epsilon)})})

    def measured() -> dict[str, float]:
        return {"accuracy": 100.0 * run(job, task, progress=False).metrics["accuracy"]}

    return kept(STATE / f"{digest(task, how, job.model_dump(mode='json'))}.json", measured)["accuracy"]


def _dealt(name: str, data: Data, devices: int, seed: int) -> FederatedData:
    """Equal parts at random, as the model sees them."""
    seen = data.seen
    given = fogline.load(name, clients=devices, partition="iid", seed=seed, flat=seen is None)
    if seen is None:
        return given
    parts = [Examples(seen(one.array), one.y) for one in map(given.at, range(devices))]
    assert given.test is not None
    test = Examples(seen(given.test.array), given.test.y)
    return from_clients(name, dict(zip(given.clients, parts, strict=True)), test=test, classes=data.outputs)


def _noise(job: Job, epsilon: float) -> float:
    def events(noise: float) -> Any:
        assert job.privacy is not None
        privacy = job.privacy.model_copy(update={"noise": noise})
        return events_of(job.model_copy(update={"privacy": privacy}), job.rounds)

    return least_noise(events, epsilon, DELTA)


def _job(how: str, data: Data, rounds: int, seed: int) -> Job:
    tier: Mapping[str, Any] = {}
    if how == "ftrl":
        turns = {"policy": "rotation", "policy_parameters": {"period": TURNS}}
        tier = {"cohort": 1 / TURNS, **turns}
    elif how == "distributed":
        tier = {"exchange": "benchmarks.dp.unmasked:Unmasked", "quorum": 1.0}
    mechanism = MECHANISMS.get(how)
    privacy = None if mechanism is None else fogline.Privacy(mechanism=mechanism, clip=data.clip, delta=DELTA)
    return Job(
        name=f"dp-{how}",
        seed=seed,
        rounds=rounds,
        tree=fogline.Tree(cloud=fogline.Tier(**tier)),
        local=fogline.Local(epochs=data.epochs, batch_size=20, learning_rate=data.rate),
        evaluation=fogline.Evaluation(every=rounds),
        privacy=privacy,
    )


def _table(cells: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    table = Table("data", "ε", "no noise", "central", "ftrl", "distributed", title="Test accuracy, percent")
    for name, row in cells.items():
        for epsilon, cell in row.items():
            table.add_row(name, epsilon, *(f"{value:.1f}" for value in cell.values()))
    return table

"""Personal models against one for all and against each device by itself.

    python -m benchmarks.personal [--seeds N] [--rounds N] [--quick]

Four populations: people's activities (uci_har by subject: 21 people, 200 windows each, nine statistics of every
channel), fashion_mnist, Dirichlet(0.1) and two classes each (20 devices of 200 images, 14 x 14), and the load of
houses an hour ahead (citylearn by building: 17 houses, 400 hours). A quarter of each device's examples is held out, and
each judges there. A network of one hidden layer; one pass a round, batches of 20; the same rate for all methods. Every
method has one setting for all populations (``METHODS``): nothing is chosen by the figures that are printed.

- ``mean``, ``worst_decile``: over devices after the last round; accuracy in per cent, or RMSE in kWh; the median over
  the seeds (``perfedavg_hf``, which runs on ``loop`` alone, for ``dirichlet`` and the first seed only). ``global`` is
  the common model of FedAvg, ``alone`` each device by itself with as many steps.
- ``best``: of each population, and whether its mean and its worst decile are no worse than both (``best_over_both``).
- ``behind``: how far each method's mean is behind the best: in points, or in per cent of the best RMSE.
  ``most_behind``: the most of all populations; ``recommended`` is the method for which that is least.
- ``seconds``: processor seconds of a round of a CNN on eight devices, on ``loop``: FedAvg's, and each method's over
  that; ``gradients``: what a method computes of them over FedAvg's; ``most_over_gradients``: the largest quotient.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

import fogline
from benchmarks.common import console, median, report
from fogline import Result, Task, simulate
from fogline.algorithms import make
from fogline.data import Examples, FederatedData, from_clients

GLOBAL, ALONE, TUNED = "global", "alone", "fine-tuned"
METHODS: dict[str, tuple[dict[str, Any], float]] = {
    TUNED: ({}, 1),
    "fedper": ({}, 1),
    "lgfedavg": ({}, 1),
    "fedrep": ({}, 2),
    "fedbabu": ({}, 1),
    "fedrod": ({}, 2),
    "ditto": ({"lam": 0.1}, 2),
    "pfedme": ({"lam": 2.0, "rate": 0.2}, 5),
    "perfedavg": ({"alpha": 0.02}, 2),
    "perfedavg_hf": ({"alpha": 0.02}, 4),
    "apfl": ({"alpha": 0.5}, 2),
    "fedala": ({"layers": 1}, 1.8),
    "fedamp": ({"alpha": 1.0, "sigma": 10.0, "lam": 0.01}, 1),
    "fedproto": ({}, 1),
    "feddistill": ({"lam": 0.1}, 1),
    "knnper": ({}, 1),
}
"""Parameters, and gradients a step."""
OF_CLASSES = ("fedrod", "fedproto", "feddistill")
FINE_TUNE = {"epochs": 3, "learning_rate": 0.05}


def network(inputs: int, outputs: int) -> Callable[[], nn.Module]:
    """A hidden layer of 32 units."""
    return lambda: nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


def cnn() -> nn.Module:
    """Convolutions of 8 and 16 maps on 14 x 14 pixels."""
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 14, 14)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def some(data: FederatedData, count: int, seed: int, seen: Callable[[np.ndarray], np.ndarray]) -> FederatedData:
    """So many examples of each device, drawn by the seed, as the model sees them."""
    rng, parts = np.random.default_rng(seed), dict[str, Any]()
    for place, name in enumerate(data.clients):
        examples = data.at(place)
        few = examples.part(rng.permutation(examples.count)[:count])
        parts[name] = Examples(seen(few.array), few.y)
    return from_clients(data.name, parts, classes=data.classes, meaning=data.meaning)


def statistics(x: np.ndarray) -> np.ndarray:
    """Windows (n, 9, 128) as (n, 81): mean, deviation, extremes and the strength of five low frequencies."""
    waves = np.log1p(np.abs(np.fft.rfft(x, axis=2))[:, :, 1:6]) / 2.0
    plain = np.stack([x.mean(2), x.std(2), x.min(2) / 4.0, x.max(2) / 4.0], axis=2)
    return np.concatenate([plain, waves], axis=2).reshape(len(x), -1).astype(np.float32)


def smaller(x: np.ndarray) -> np.ndarray:
    """Images (n, 1, 28, 28) as (n, 196)."""
    return x.reshape(len(x), 14, 2, 14, 2).mean((2, 4)).reshape(len(x), -1)


def images(seed: int, partition: str, clients: int = 20, **parameters: Any) -> FederatedData:
    """Devices of fashion_mnist."""
    data = fogline.load("fashion_mnist", clients=clients, partition=partition, seed=seed, **parameters)
    return some(data, 200, seed, smaller)


def energy(seed: int) -> Task:
    """The load of houses, an hour ahead."""
    data = some(fogline.load("citylearn2022"), 400, seed, lambda x: x)
    return Task(network(36, 1), data, loss="mse", name="energy")


POPULATIONS: dict[str, tuple[Callable[[int], Task], float]] = {
    "activity": (lambda s: Task(network(81, 6), some(fogline.load("uci_har"), 200, s, statistics)), 0.1),
    "dirichlet": (lambda s: Task(network(196, 10), images(s, "dirichlet", alpha=0.1)), 0.1),
    "two_classes": (lambda s: Task(network(196, 10), images(s, "shards", shards_per_client=2)), 0.1),
    "energy": (energy, 0.05),
}
"""What is learned, and at which rate."""


def trained(task: Task, name: str, rate: float, rounds: int, seed: int, **more: Any) -> Result:
    """One run, judged by its devices."""
    parameters, _ = METHODS.get(name, ({}, 1))
    tuned = {"fine_tune": FINE_TUNE} if name in (TUNED, "fedbabu") else {}
    settings: dict[str, Any] = {"engine": "loop" if name == "perfedavg_hf" else "stacked", "chunk": 32} | more
    return simulate(
        task,
        make("fedavg" if name in (TUNED, GLOBAL) else name, **parameters),
        rounds=rounds,
        local={"learning_rate": rate, "batch_size": 20, "epochs": 1},
        evaluation={"where": "devices", "every": rounds, "share": 0.25} | tuned,
        seed=seed,
        processes=0,
        progress=False,
        **settings,
    )


def figures(population: str, rounds: int, seed: int) -> dict[str, tuple[float, float]]:
    """Mean and worst decile of each method, of FedAvg's model, and of each device alone."""
    make_task, rate = POPULATIONS[population]
    task = make_task(seed)
    plain, found = trained(task, GLOBAL, rate, rounds, seed, baselines=("alone",)), dict[str, Any]()
    found[GLOBAL], found[ALONE] = plain.devices, plain.baselines["alone"].devices
    for name in METHODS:
        slow = name == "perfedavg_hf" and (seed, population) != (0, "dirichlet")
        if not slow and (task.classifies or name not in OF_CLASSES):
            found[name] = trained(task, name, rate, rounds, seed).devices
    factor = 100.0 if task.classifies else 1.0
    values = {name: (factor * spread.mean, factor * spread.worst_decile) for name, spread in found.items()}
    for name, (mean, worst) in values.items():
        console.print(f"seed {seed}, {population}: {name} {mean:.3f}, worst decile {worst:.3f}")
    return values


def compared(values: Mapping[str, Sequence[float]], higher: bool) -> dict[str, Any]:
    """The best of the personal methods, and how far the others are behind it."""
    sign, own = 1.0 if higher else -1.0, [name for name in METHODS if name in values]
    best = max(own, key=lambda name: sign * values[name][0])
    both = all(sign * (values[best][i] - values[other][i]) >= 0 for other in (GLOBAL, ALONE) for i in (0, 1))
    unit = 1.0 if higher else 100.0 / values[best][0]
    behind = {name: round(unit * sign * (values[best][0] - values[name][0]), 2) for name in own}
    return {"best": best, "best_over_both": both, "behind": behind}


def seconds(rounds: int) -> dict[str, float]:
    """Processor seconds of a round, by method; the first two and the last, which is judged, do not count."""
    task, spent = Task(cnn, images(0, "dirichlet", clients=8, alpha=0.1)), dict[str, float]()
    for name in (GLOBAL, *(name for name in METHODS if name != TUNED)):
        at = list[float]()

        def clock(row: Any, model: Any, state: Any, at: list[float] = at) -> None:
            at.append(time.process_time())

        trained(task, name, 0.1, 2 + rounds, 0, engine="loop", on_round=clock)
        spent[name] = median(np.diff(at)[1:-1])
        console.print(f"a round of {name}: {spent[name]:.2f} s")
    return spent


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="a seed, five rounds")
    asked = parser.parse_args(arguments)
    seeds, rounds = (1, 5) if asked.quick else (asked.seeds, asked.rounds)
    torch.set_num_threads(1)
    gc.freeze()  # Every run collects; what was imported need not be looked at each time.
    result: dict[str, Any] = {"seeds": seeds, "rounds": rounds, "populations": {}}
    spent = seconds(2)
    runs = [{name: figures(name, rounds, seed) for name in POPULATIONS} for seed in range(seeds)]
    for population in POPULATIONS:
        found = [run[population] for run in runs]
        values = {name: [median(one[name][i] for one in found if name in one) for i in (0, 1)] for name in found[0]}
        told = {name: {"mean": round(m, 3), "worst_decile": round(w, 3)} for name, (m, w) in values.items()}
        result["populations"][population] = told | compared(values, population != "energy")
    ratios = {name: one / spent[GLOBAL] for name, one in spent.items() if name != GLOBAL}
    result["seconds"] = {GLOBAL: round(spent[GLOBAL], 3)} | {name: round(one, 2) for name, one in ratios.items()}
    result["gradients"] = {name: METHODS[name][1] for name in ratios}
    result["most_over_gradients"] = round(max(one / METHODS[name][1] for name, one in ratios.items()), 2)
    found = list(result["populations"].values())
    result["best_over_both_everywhere"] = all(one["best_over_both"] for one in found)
    everywhere = [name for name in METHODS if all(name in one["behind"] for one in found)]
    result["most_behind"] = {name: max(one["behind"][name] for one in found) for name in everywhere}
    result["recommended"] = min(everywhere, key=result["most_behind"].__getitem__)
    report("personal", result, keep=not asked.quick)


if __name__ == "__main__":
    main()

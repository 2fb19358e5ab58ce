"""Test accuracy on the label-skewed MNIST of NIID-Bench (Li et al., 2022, table 3) after 50 rounds.

10 parties, all of them in every round, 10 epochs of batch 64, SGD at 0.01 with momentum 0.9, their CNN of 44,426
parameters. "Dir(0.5)" divides each class in proportions drawn from a Dirichlet distribution, at least 10 images a
party; "#C=2" gives each party two classes. `paper` is their table, `rerun` the reproduction in Flower's baselines.
Agreement means at most one point below the paper. One seed: the published spread over seeds is below that.
"""

from functools import partial
from typing import Any

import numpy as np

import fogline
from benchmarks.accuracy.runs import Cell, Figures, best_accuracy, judged, pace, resumable
from fogline.algorithms import ClientUpdate, FedNova, FedProx, Scaffold, Weighted
from fogline.settings import LocalSettings
from fogline.training import DeviceContext
from fogline.training.torch.models import niid_bench_cnn

MOMENTUM = 0.9
POINT = 0.01
PARTIES = 10


class MomentumScaffold(Scaffold):
    """SCAFFOLD on SGD with momentum, as NIID-Bench runs it.

    With momentum a device moves about K eta / (1 - momentum) times a mean gradient, so the control that divides
    its movement by K eta alone is in units of a gradient times 1 / (1 - momentum). NIID-Bench adds its correction
    after the momentum; here it passes through the momentum, so the control must be in units of a gradient:
    K is replaced by what the gradients of K steps count for in all (FedNova's tau).
    """

    momentum: float = MOMENTUM

    def check_local(self, local: LocalSettings) -> None:
        """Momentum is counted; see above."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        rho, plan, local = self.momentum, device.plan, device.local
        counted = (plan.steps - rho * (1.0 - rho**plan.steps) / (1.0 - rho)) / (1.0 - rho)
        gradient = (device.start - device.end) / np.float32(counted * plan.learning_rate)
        change = gradient - local["correction"] - local["control"]
        terms = {"delta": Weighted(device.end - device.start, 1.0), "control": Weighted(change, 1.0)}
        return ClientUpdate(terms, {"control": local["control"] + change})


METHODS: dict[str, fogline.Algorithm] = {
    "fedavg": fogline.FedAvg(),
    "fedprox": FedProx(mu=0.01),  # of the paper's grid .001, .01, .1, 1
    "scaffold": MomentumScaffold(),
    "fednova": FedNova(momentum=MOMENTUM),
}
SPLITS: dict[str, dict[str, Any]] = {
    "dir0.5": {"partition": "dirichlet", "alpha": 0.5, "min_size": 10},
    "c2": {"partition": "classes_per_client", "classes": 2},
}
PUBLISHED: dict[str, tuple[float, float]] = {
    # cell: (the paper, Flower's rerun); in the order in which we run them
    "fedavg/dir0.5": (98.9, 98.89),
    "scaffold/c2": (95.9, 96.92),
    "fednova/dir0.5": (98.9, 98.03),
    "fedprox/c2": (96.4, 96.85),
    "fedavg/c2": (97.0, 96.86),
    "scaffold/dir0.5": (99.0, 99.07),
    "fednova/c2": (94.5, 96.65),
    "fedprox/dir0.5": (98.9, 99.02),
}


def cells(quick: bool) -> list[Cell]:
    names = list(PUBLISHED)[:2] if quick else list(PUBLISHED)
    return [Cell("niid", name, partial(measure, name, quick)) for name in names]


def measure(name: str, quick: bool) -> Figures:
    method, split = name.split("/")
    result = train(method, split, rounds=1 if quick else 50, epochs=1 if quick else 10)
    paper, rerun = (figure / 100 for figure in PUBLISHED[name])
    ours = result.metrics["accuracy"]
    return {
        "ours": round(ours, 4),
        "paper": round(paper, 4),
        "agrees": ours >= paper - POINT,
        "unit": f"test accuracy after {result.job.rounds} rounds",
        "rerun": round(rerun, 4),
        "best_accuracy": round(best_accuracy(result.history), 4),
        "last_five": [round(row["accuracy"], 4) for row in judged(result.history)[-5:]],
        "seconds_per_round": pace([result]),
        "engine": result.job.engine,
    }


def train(method: str, split: str, rounds: int, epochs: int) -> fogline.Result:
    data = fogline.load("mnist", clients=PARTIES, seed=0, **SPLITS[split])
    return resumable(
        f"niid-{method}-{split}",
        fogline.Task(partial(niid_bench_cnn, channels=1, size=28), data, name="niid-bench-cnn"),
        METHODS[method],
        rounds=rounds,
        local={"learning_rate": 0.01, "momentum": MOMENTUM, "batch_size": 64, "epochs": epochs},
        seed=0,
    )

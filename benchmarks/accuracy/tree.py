"""Two claims about trees: HierFAVG's time to an accuracy, and MTGC's fewer cloud rounds under group skew.

HierFAVG (Liu et al., 2020, arXiv 1905.06641, table II): 50 clients of one class each below 5 edges, a CNN of
21,840 parameters on MNIST, batches of 20, learning rate 0.01, times 0.995 per cloud round (which is one epoch of a
client). "Edge-IID": the ten clients of an edge have ten classes; "edge-NIID": five classes, two clients each, and
the last edge takes the clients that are left. (kappa1, kappa2) = (60, 1) averages at the cloud after every 60 steps;
(6, 10) at the edge after 6 and at the cloud after 60. Time is the paper's analytic model, given to Fogline as
profiles of devices and links:

    compute, one step   c D / f                        = 0.024 s      f = 1 GHz
    upload to the edge  M / (B log2(1 + h p / sigma))  = 0.1232 s     M = 32 * 21840 bits, B = 1 MHz, p = 0.5 W,
                                                                      h = 1e-8, sigma = 1e-10 W
    edge to cloud       ten times that                                (downloads cost nothing)
    energy of a device  alpha/2 c D f^2 = 0.0024 J a step, p times the upload time = 0.0616 J an upload

The constants are not all printed in the sources that we have, but with these, the joules and the seconds of the
published table give the same number of cloud rounds within one (edge-NIID: 107 for (30, 2), 69 for (15, 4), 38 for
(6, 10)); only in (60, 1), 150 rounds by energy and 145 by time, do they not quite.

MTGC (Fang et al., NeurIPS 2024) publishes no figure for this, only that it needs fewer cloud rounds than hierarchical
FedAvg; reduced here to 5 groups of 4 devices with McMahan's 2NN, Dirichlet(0.1) over the groups, IID within them, both
methods alike in everything else. On MNIST the claim holds throughout. On Fashion-MNIST MTGC leads at first, but as a
group of two classes drifts far in 100 steps, its corrections become unsteady (a textbook MTGC shows the same).
"""

from collections import deque
from functools import partial
from math import log2
from typing import Any

import numpy as np
from torch import nn

import fogline
from benchmarks.accuracy.runs import Cell, Figures, best_accuracy, middle, pace, reach, resumable, rounded
from fogline.data import FederatedData, dirichlet, from_arrays, iid, load_raw
from fogline.training.torch.models import mlp

# HierFAVG

STEP_SECONDS = 0.024
STEP_JOULES = 0.0024
BANDWIDTH, POWER, GAIN, NOISE = 1e6, 0.5, 1e-8, 1e-10
EDGE_BITS_PER_SECOND = BANDWIDTH * log2(1 + GAIN * POWER / NOISE)
CLOUD_FACTOR = 10
BATCH = 20
FREE = 1e15  # bytes per second of a download, which the model leaves out
NIID_CLASSES = ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [5, 6, 7, 8, 9], [6, 7, 8, 9, 0])
SCHEDULES = ((60, 1), (6, 10))
TABLE = {  # cell: schedule: (joules, seconds) to 0.85 in the paper
    "edge-iid": {(60, 1): (29.4, 385.9), (6, 10): (19.0, 97.7)},
    "edge-niid": {(60, 1): (30.8, 405.5), (6, 10): (28.9, 148.4)},
}
FASTER = 3.0  # what we ask for, or the paper's own factor where that is less (edge-NIID: 2.73)
# MTGC
GROUPS, MEMBERS = 5, 4
SEEDS = 3
MTGC_TARGETS = {"mnist": (0.90, 0.85, 0.93), "fashion_mnist": (0.80, 0.75, 0.84)}  # the first decides
MTGC_ROUNDS = 40
GROUP_ROUNDS = 10
MTGC_LOCAL = {"learning_rate": 0.05, "batch_size": 50, "steps": 10}


def hierfavg_cells(quick: bool) -> list[Cell]:
    names = list(TABLE)[:1] if quick else list(TABLE)
    return [Cell("hierfavg", name, partial(measure_hierfavg, name, quick)) for name in names]


def mtgc_cells(quick: bool) -> list[Cell]:
    names = list(MTGC_TARGETS)[:1] if quick else list(MTGC_TARGETS)
    return [Cell("mtgc", name, partial(measure_mtgc, name, quick)) for name in names]


def hierfavg_cnn() -> nn.Sequential:
    """The MNIST CNN of the authors: 21,840 parameters, with dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 10, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(10, 20, 5),
        nn.Dropout2d(),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(320, 50),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(50, 10),
    )


def measure_hierfavg(name: str, quick: bool) -> Figures:
    target, rounds = (0.2, 1) if quick else (0.85, 500)
    results = [train_hierfavg(name, schedule, target, rounds) for schedule in SCHEDULES]
    table = TABLE[name]
    paper = table[60, 1][1] / table[6, 10][1]
    seconds = [None if result.reached is None else result.reached.seconds for result in results]
    # A schedule that ran to the limit without reaching the target took at least as long as it ran.
    ran = [result.history[-1]["seconds"] for result in results]
    ours = round((seconds[0] or ran[0]) / seconds[1], 2) if seconds[1] else None
    return {
        "ours": ours,
        "at_least": seconds[0] is None,
        "paper": round(paper, 2),
        "agrees": ours is not None and ours >= min(FASTER, paper),
        "unit": f"times faster to {target:.2f} with (6, 10) than with (60, 1)",
        "seconds": {label(s): value for s, value in zip(SCHEDULES, rounded(seconds), strict=True)},
        "paper_seconds": {label(s): table[s][1] for s in SCHEDULES},
        "joules_per_device": {label(s): joules(r) for s, r in zip(SCHEDULES, results, strict=True)},
        "paper_joules": {label(s): table[s][0] for s in SCHEDULES},
        "cloud_rounds": {label(s): len(r.history) for s, r in zip(SCHEDULES, results, strict=True)},
        "best_accuracy": [round(best_accuracy(result.history), 4) for result in results],
        "seconds_per_round": {label(s): pace([r]) for s, r in zip(SCHEDULES, results, strict=True)},
        "engine": {label(s): r.job.engine for s, r in zip(SCHEDULES, results, strict=True)},
    }


def label(schedule: tuple[int, int]) -> str:
    return f"{schedule[0]},{schedule[1]}"


def joules(result: fogline.Result) -> float:
    return round(result.history[-1]["joules"] / 50, 1)


def train_hierfavg(name: str, schedule: tuple[int, int], target: float, rounds: int) -> fogline.Result:
    task = fogline.Task(hierfavg_cnn, one_class_clients(NIID_CLASSES if name == "edge-niid" else ()), name="cnn-21840")
    steps, edge_rounds = schedule
    speed = BATCH * task.cost / STEP_SECONDS
    watts = STEP_JOULES / STEP_SECONDS
    up = EDGE_BITS_PER_SECOND / 8
    radio = POWER / up * 1e6  # joules per 10^6 bytes; downloads count too, hence half
    return resumable(
        f"hierfavg-{name}-{steps}-{edge_rounds}",
        task,
        "hierfavg",
        tree=fogline.Tree(cloud=fogline.Tier(), edge=fogline.Tier(count=5, rounds=edge_rounds), assign="groups"),
        rounds=rounds,
        local={
            "learning_rate": 0.01,
            "batch_size": BATCH,
            "steps": steps,
            "schedule": "exponential",
            "decay": 0.995,
        },
        devices={
            "speed": speed,
            "up": up,
            "down": FREE,
            "compute_watts": watts,
            "radio_joules_per_mb": radio / 2,
        },
        links={"up": up / CLOUD_FACTOR, "down": FREE, "rtt": 0.0},
        evaluation={"target": target, "stop_at_target": True},
        seed=0,
    )


def one_class_clients(edges: tuple[list[int], ...]) -> FederatedData:
    """MNIST for 50 clients of one class, five to each class. The first edges get two clients of each of these
    classes; the clients left over are dealt out class by class, so that without any every edge gets all ten."""
    raw = load_raw("mnist")
    left = {k: deque(np.array_split(np.random.default_rng(k).permutation(np.flatnonzero(raw.y == k)), 5))
            for k in range(10)}  # fmt: skip
    rows: dict[str, Any] = {}
    groups: dict[str, str] = {}

    def place(edge: int, k: int) -> None:
        client = f"class{k}-{5 - len(left[k])}"
        rows[client], groups[client] = left[k].popleft(), f"edge-{edge}"

    for edge, classes in enumerate(edges):
        for k in classes * 2:
            place(edge, k)
    rest = range(len(edges), 5)
    for k in left:
        while left[k]:
            place(rest[len(left[k]) % len(rest)], k)
    return from_arrays("mnist-one-class", raw.x, raw.y, rows, meaning=raw.meaning, test=raw.test, groups=groups,
                       transform=raw.transform)  # fmt: skip


def measure_mtgc(dataset: str, quick: bool) -> Figures:
    targets, rounds, seeds = ((0.5, 0.6), 2, 1) if quick else (MTGC_TARGETS[dataset], MTGC_ROUNDS, SEEDS)
    methods = ("hierfavg", "mtgc")
    results = {m: [train_mtgc(dataset, m, seed, rounds) for seed in range(seeds)] for m in methods}
    reached = {
        target: {method: [reach(result.history, target) for result in runs] for method, runs in results.items()}
        for target in targets
    }
    medians = {method: middle(values) for method, values in reached[targets[0]].items()}
    base, ours = medians["hierfavg"], medians["mtgc"]
    return {
        "ours": round(base / ours, 2) if base and ours else None,
        "paper": None,
        "agrees": ours is not None and (base is None or ours < base),
        "unit": f"times fewer cloud rounds to {targets[0]:.0%} than HierFAVG",
        "cloud_rounds": medians,
        "seeds": {f"{t:.2f}": {m: rounded(values) for m, values in by.items()} for t, by in reached.items()},
        "final_accuracy": {m: [round(r.metrics["accuracy"], 4) for r in runs] for m, runs in results.items()},
        "seconds_per_round": {method: pace(runs) for method, runs in results.items()},
        "engine": {method: runs[0].job.engine for method, runs in results.items()},
    }


def train_mtgc(dataset: str, method: str, seed: int, rounds: int) -> fogline.Result:
    return resumable(
        f"mtgc-{dataset}-{method}-seed{seed}",
        fogline.Task(mlp, skewed_groups(dataset, seed), name="2nn"),
        method,
        tree=fogline.Tree(cloud=fogline.Tier(), fog=fogline.Tier(count=GROUPS, rounds=GROUP_ROUNDS), assign="groups"),
        rounds=rounds,
        local=MTGC_LOCAL,
        seed=seed,
    )


def skewed_groups(dataset: str, seed: int) -> FederatedData:
    """Images with Dirichlet(0.1) label skew over the groups, IID within each."""
    raw = load_raw(dataset, flat=True)
    training = np.arange(len(raw.y)) if raw.rows is None else raw.rows
    rows: dict[str, Any] = {}
    for i, part in enumerate(dirichlet(raw.y[training], GROUPS, alpha=0.1, min_size=1000, seed=seed)):
        for j, member in enumerate(iid(len(part), MEMBERS, seed=[seed, i])):
            rows[f"group{i}-{j}"] = training[part[member]]
    groups = {client: client.split("-")[0] for client in rows}
    return from_arrays(f"{dataset}-groups", raw.x, raw.y, rows, meaning=raw.meaning, test=raw.test, groups=groups,
                       transform=raw.transform)  # fmt: skip

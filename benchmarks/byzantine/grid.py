"""ByzFL's grid on MNIST: how accurate a model gets where some devices, or one fog, are malicious.

Every device sends the momentum of its gradients on 25 examples, and the model takes a step along what the rules make of
them; malicious devices see all that, and stand beside the honest ones, who have all the data. Of the data of an honest
device a share (``similarity``, the paper's gamma) is drawn at random, the rest is sorted by class. What counts is the
least accuracy over three attacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

import fogline
from benchmarks.accuracy.runs import digest
from benchmarks.common import SCRATCH, console, kept
from fogline.algorithms import FedAvg
from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.data import FederatedData, from_arrays
from fogline.data.loaders import load_raw
from fogline.training.context import DeviceContext

HONEST = 10
ATTACKS = ("sign_flip", "opt_ipm", "opt_alie")
RATE, MOMENTUM, BATCH, STEPS = 0.1, 0.9, 25, 800
CLIP = 2.0
"""Longest momentum that counts."""
STATE = SCRATCH / "byzantine"
FOGS, BELOW = 5, 4
"""Of the tree: fogs, and devices below each."""


class MomentumSGD(FedAvg):
    """Distributed SGD in which a device sends the momentum of its gradients: m = beta m + (1 - beta) g, and the model
    moves by -rate m."""

    beta: float = MOMENTUM
    rate: float = RATE

    def report(self, device: DeviceContext) -> ClientUpdate:
        gradient = (device.start - device.end) / np.float32(device.plan.learning_rate)
        momentum = np.float32(self.beta) * device.local.get("momentum", np.float32(0.0))
        momentum = momentum + np.float32(1.0 - self.beta) * gradient
        return ClientUpdate({"delta": Weighted(np.float32(-self.rate) * momentum, 1.0)}, {"momentum": momentum})


def cnn() -> nn.Sequential:
    """ByzFL's model for MNIST: 431,080 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4 * 4 * 50, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A column of the grid: who is there, and how they are joined."""

    name: str
    tree: fogline.Tree
    honest: int
    """Devices that have data of their own."""
    attack: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Who is malicious."""
    extra: int = 0
    """Malicious devices, which have copies of others' data."""


def flat(f: int, rule: str) -> Setting:
    """ByzFL's own: ten honest devices and f others below one aggregator."""
    rules = [f"norm_bound({CLIP * RATE})", f"nnm(f={f})", _rule(rule, f, HONEST + f)]
    who = [f"device-{HONEST + place}" for place in range(f)]
    tree = fogline.Tree(cloud=fogline.Tier(rule=tuple(rules)))
    return Setting(f"flat, f={f}, {rule}", tree, HONEST, {"who": who}, f)


def fogs(f: int, rule: str) -> Setting:
    """Twenty devices below five fogs, f of them malicious, each below another fog."""
    who = [f"device-{FOGS * BELOW - 1 - place}" for place in range(f)]
    name = f"two tiers, {f} malicious devices, {rule}"
    return Setting(name, _tree(rule), FOGS * BELOW - f, {"who": who}, f)


def fog(rule: str) -> Setting:
    """Twenty honest devices below five fogs, one of which is malicious."""
    return Setting(f"two tiers, one malicious fog, {rule}", _tree(rule), FOGS * BELOW, {"at": "fog", "who": ["fog-0"]})


def _tree(rule: str) -> fogline.Tree:
    """Rules on both tiers that withstand one child each."""
    clip = f"norm_bound({CLIP * RATE})"
    return fogline.Tree(
        cloud=fogline.Tier(rule=(clip, "nnm(f=1)", _rule(rule, 1, FOGS))),
        fog=fogline.Tier(count=FOGS, rule=(clip, "nnm(f=1)", _rule(rule, 1, BELOW))),
    )


def _rule(rule: str, f: int, children: int) -> str:
    return f"trimmed_mean({f / children})" if rule == "trimmed_mean" else rule


def similar(y: npt.NDArray[Any], clients: int, similarity: float, seed: int) -> list[npt.NDArray[np.int64]]:
    """Rows for each client: a share drawn at random, and of the rest, sorted by class, one stretch."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    drawn, rest = np.split(order, [round(similarity * len(y))])
    rest = rest[np.argsort(y[rest], kind="stable")]
    parts = zip(np.array_split(drawn, clients), np.array_split(rest, clients), strict=True)
    return [np.concatenate(both).astype(np.int64) for both in parts]


@cache
def digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[Any], Any]:
    """MNIST, as the model wants it: inputs, classes and the test set."""
    raw = load_raw("mnist")
    assert raw.transform is not None
    x: Any = raw.transform(raw.x, 0)
    return x, raw.y, raw.test


def data_of(setting: Setting, similarity: float, seed: int) -> FederatedData:
    x, y, test = digits()
    parts = similar(y, setting.honest, similarity, seed)
    parts += [parts[place % setting.honest] for place in range(setting.extra)]
    named = {f"device-{place}": rows for place, rows in enumerate(parts)}
    return from_arrays("mnist", x, y, named, test=test, classes=10, overlap=True)


def accuracy(setting: Setting, similarity: float, attack: str, steps: int, seed: int = 0) -> dict[str, float]:
    """The model's accuracy after so many steps under an attack, and what it took; read if it was measured before."""
    task = fogline.Task(cnn, data_of(setting, similarity, seed), name="byzfl-cnn")
    settings: dict[str, Any] = {
        "tree": setting.tree,
        "rounds": steps,
        "local": {"learning_rate": RATE, "batch_size": BATCH, "steps": 1},
        "evaluation": {"every": max(1, steps // 8)},
        "seed": seed,
        "attack": {**setting.attack, "name": attack},
        "engine": "loop",
        "processes": 0,
    }

    def measured() -> dict[str, float]:
        result = fogline.simulate(task, MomentumSGD(), progress=False, **settings)
        return {"accuracy": round(result.metrics["accuracy"], 4), "wall": round(result.wall, 1)}

    found = kept(STATE / f"{digest(task, MomentumSGD(), {**settings, 'similarity': similarity})}.json", measured)
    console.print(f"{setting.name}, similarity {similarity}, {attack}, {steps} steps: {found}", highlight=False)
    return found


def cell(setting: Setting, similarity: float, steps: int, seeds: Sequence[int]) -> dict[str, Any]:
    """The least accuracy over the attacks, of each the mean over seeds."""
    by_attack: dict[str, float] = {}
    for attack in ATTACKS:
        found = [accuracy(setting, similarity, attack, steps, seed)["accuracy"] for seed in seeds]
        by_attack[attack] = round(sum(found) / len(found), 4)
    return {"worst": min(by_attack.values()), "attacks": by_attack}


def grid(quick: bool, steps: int | None, only: str = "", similarities: Sequence[float] | None = None) -> dict[str, Any]:
    """All cells, or some.

    Args:
        quick: two similarities, f = 3 and the trimmed mean only.
        steps: of a run; None takes those of the paper, or a fourth of them where it is quick.
        only: how the names of the settings begin that are run.
        similarities: in place of all of them.
    """
    made = steps or (STEPS // 4 if quick else STEPS)
    similarities = similarities or ((1.0, 0.33) if quick else (1.0, 0.66, 0.33, 0.0))
    rules = ("trimmed_mean",) if quick else ("trimmed_mean", "geometric_median")
    counts = (3,) if quick else (1, 2, 3, 4)
    settings = [flat(f, rule) for rule in rules for f in counts]
    settings += [one for rule in rules for one in (fogs(3, rule), fog(rule))]
    cells: dict[str, dict[str, Any]] = {}
    for setting in (one for one in settings if one.name.startswith(only)):
        for similarity in similarities:
            cells[f"{setting.name}, similarity {similarity}"] = cell(setting, similarity, made, (0,))
    return {"steps": made, "honest": HONEST, "cells": cells, "worst": {name: c["worst"] for name, c in cells.items()}}

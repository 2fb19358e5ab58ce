"""Bytes per release and accuracy of what is served, for full files and for deltas.

A node that takes each round fetches the delta from the release before. One that takes every fifth fetches the lossless
delta from the release that it has (`direct`), or the five deltas one after the other (`chained`), whichever is smaller.
Where no delta is worth it, the full file counts. The first release is full for everybody and is not counted.

`accuracy_lost` is what the trained model has on the test set and the served one has not; below zero the served one is
better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter
from typing import Any

from rich.table import Table

import fogline
from benchmarks.common import console, progress
from fogline.codecs.deltas import CODECS, Encoded, against, apply
from fogline.data import Examples
from fogline.params import Params, to_bytes
from fogline.training.metrics import Sums
from fogline.training.torch.models import mlp

FULL = "full"
STRIDE = 5
"""Releases between two that the slower node takes."""

Figures = dict[str, Any]


class KeepingTask(fogline.Task):
    """Keeps the model of every round, as it is judged."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.models: list[Params] = []

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        if not self.models or (self.models[-1].vector != params.vector).any():
            self.models.append(params.copy())
        return super().evaluate(params, examples)


@dataclass
class Release:
    """A round's model as it is served, and the ways to it."""

    params: Params
    full: int
    """Bytes of its file."""
    step: Encoded | None
    """From the release before,"""
    leap: Encoded | None
    """and from the one that many before."""


def measure(rounds: int) -> Figures:
    """Train, and release every round's model with each codec."""
    task, models = trained(rounds)
    wanted = [accuracy(task, model) for model in models]
    codecs = {codec: figures(codec, task, models, wanted) for codec in (FULL, *CODECS)}
    console.print(table(codecs))
    return {
        "weights": models[0].spec.floats,
        "rounds": rounds,
        "full_bytes": len(to_bytes(models[0])),
        "accuracy_trained": [round(value, 4) for value in wanted],
        **codecs,
    }


def trained(rounds: int) -> tuple[KeepingTask, list[Params]]:
    """The task, and the model after each round."""
    data = fogline.load("mnist", clients=100, partition="dirichlet", alpha=0.3, flat=True, seed=0)
    task = KeepingTask(lambda: mlp(hidden=(64,)), data, name="mlp")
    fogline.simulate(
        task,
        "fedavg",
        tree=fogline.Tree(cloud=fogline.Tier(cohort=10)),
        rounds=rounds,
        local={"learning_rate": 0.05, "batch_size": 32, "epochs": 1},
        evaluation={"every": 1},
        processes=0,
    )
    return task, task.models


def accuracy(task: KeepingTask, params: Params) -> float:
    assert task.data.test is not None
    return task.metrics(fogline.Task.evaluate(task, params, task.data.test))["accuracy"]


def figures(codec: str, task: KeepingTask, models: Sequence[Params], wanted: Sequence[float]) -> Figures:
    began = perf_counter()
    releases = released(codec, models)
    seconds = (perf_counter() - began) / len(models)
    served = [accuracy(task, release.params) for release in releases]
    lost = [before - after for before, after in zip(wanted, served, strict=True)]
    each = [size(release.step, release.full) for release in releases[1:]]
    direct = [size(release.leap, release.full) for release in releases[STRIDE::STRIDE]]
    chained = [sum(each[place - STRIDE : place]) for place in range(STRIDE, len(releases), STRIDE)]
    fifth = [min(pair) for pair in zip(direct, chained, strict=True)]
    full = releases[0].full
    return {
        "bytes_each_round": round(fmean(each)),
        "share_each_round": round(fmean(each) / full, 4),
        "bytes_every_fifth": round(fmean(fifth)),
        "share_every_fifth": round(fmean(fifth) / full, 4),
        "share_every_fifth_direct": round(fmean(direct) / full, 4),
        "share_every_fifth_chained": round(fmean(chained) / full, 4),
        "accuracy_served": [round(value, 4) for value in served],
        "accuracy_lost_most": round(max(lost), 4),
        "accuracy_lost_mean": round(fmean(lost), 4),
        "accuracy_lost_finally": round(lost[-1], 4),
        "seconds_per_release": round(seconds, 3),
    }


def released(codec: str, models: Sequence[Params]) -> list[Release]:
    """All models in the closed loop: each is published against what was published before."""
    releases: list[Release] = []
    with progress() as bar:
        for model in bar.track(models, description=codec):
            releases.append(release(codec, model, releases))
    return releases


def release(codec: str, model: Params, past: Sequence[Release]) -> Release:
    if codec == FULL:
        return Release(model, len(to_bytes(model)), None, None)
    parent = past[-1].params if past else None
    older = [past[-STRIDE].params] if len(past) >= STRIDE else []
    published = against(model, parent, older, codec)
    bases = [base for base in (parent, *older) if base is not None]
    for base, delta in zip(bases, published.deltas, strict=True):
        # What a node makes of it, compared as nodes do: by its file.
        if delta is not None and to_bytes(apply(delta.codec, base, delta.payload)) != to_bytes(published.params):
            raise SystemExit(f"A node that applies the {delta.codec} delta does not get what was published.")
    step = published.deltas[0] if past else None
    leap = published.deltas[1] if older else None
    return Release(published.params, len(to_bytes(published.params)), step, leap)


def size(delta: Encoded | None, full: int) -> int:
    return full if delta is None else len(delta.payload)


def table(codecs: dict[str, Figures]) -> Table:
    shown = Table("codec", "each round", "every 5th", "most lost", "lost in the end", title="Share of the full file")
    for codec, found in codecs.items():
        shares = (f"{found[key]:.3f}" for key in ("share_each_round", "share_every_fifth"))
        lost = (f"{100 * found[key]:.2f} pt" for key in ("accuracy_lost_most", "accuracy_lost_finally"))
        shown.add_row(codec, *shares, *lost)
    return shown

"""A finished run that nobody ran."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from fogline.jobs import Evaluation, Job, Method, Tier, Tree
from fogline.monitoring.result import Reached, Result, Row, Spread
from fogline.params import Entry, Params, Spec


def history(rounds: int = 40, seed: int = 0) -> list[Row]:
    """Rounds of a run that learns; judged every second one."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for i in range(1, rounds + 1):
        row: Row = {"round": i, "seconds": 95.0 * i + rng.random() * 60, "wall": 0.4 * i, "joules": 260.0 * i}
        row |= {"down/cloud": 4.4e5 * i, "up/cloud": 4.1e5 * i, "down/fog": 8.8e6 * i, "up/fog": 7.9e6 * i}
        row |= {"updates": 20, "late": i // 3, "train_loss": 2.2 * math.exp(-i / 12) + 0.05 * rng.random()}
        if i % 2 == 0:
            row |= {
                "accuracy": 0.93 - 0.7 * math.exp(-i / 9) + 0.01 * rng.random(),
                "loss": 2.3 * math.exp(-i / 14) + 0.2,
            }
        rows.append(row)
    return rows


def spread(values: dict[str, float]) -> Spread:
    """As a run would sum them up."""
    ordered = sorted(values.values())
    worst = ordered[: max(1, len(ordered) // 10)]
    return Spread(float(np.mean(ordered)), float(np.mean(worst)), float(np.std(ordered)), values)


@pytest.fixture
def result() -> Result:
    """A run of two tiers, 200 devices, that reached its target, with some mishaps."""
    rng = random.Random(1)
    spec = Spec.of([Entry("w", (2, 3), "float32"), Entry("steps", (), "int64", role="buffer")])
    params = Params(spec, np.arange(6, dtype=np.float32), np.array([7]))
    job = Job(
        name="demo",
        task="tasks:digits",
        algorithm=Method(name="fedprox", parameters={"mu": 0.01}),
        tree=Tree(cloud=Tier(), fog=Tier(count=5, cohort=0.1)),
        rounds=40,
        seed=3,
        evaluation=Evaluation(every=2, target=0.9),
    )
    return Result(
        job=job,
        headline="accuracy",
        params=params,
        history=history(),
        metrics={"loss": 0.33, "accuracy": 0.9231},
        fogs=spread({f"fog-{i}": 0.9 + 0.02 * rng.random() for i in range(5)}),
        devices=spread({f"device-{i}": min(1.0, rng.gauss(0.91, 0.05)) for i in range(200)}),
        held_out={"accuracy": 0.8807, "loss": 0.41},
        reached=Reached(target=0.9, round=30, seconds=2890.0, bytes=514_000_000, joules=7800.0),
        counts={"late": 13, "failed": 2, "dropped": 0},
        reasons={"failed": "device-7: its loss is not finite", "late": "device-3: after the deadline [10 s]"},
        wall=16.2,
        units={"rmse": "kWh"},
    )


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the drawing of figures, which takes longer than the rest."""
    monkeypatch.setattr("fogline.monitoring.plots.save", lambda result, folder: [])

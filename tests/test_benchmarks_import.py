"""The programs that measure go with what they measure: a name that has moved is seen here, not when one is run."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.simulation.work import Work, orders
from fogline.data import from_arrays
from fogline.training.torch import TorchTask


def _name(path: Path) -> str:
    """Below ``benchmarks``, with points."""
    return ".".join(path.relative_to(FOLDER).with_suffix("").parts)


FOLDER = Path(__file__).parents[1] / "benchmarks"
THEIRS = ("dp.run_", "peers.run_", "secagg.run_", "serving.run_")
"""Those that run in the environments of peers."""
OURS = sorted(name for name in map(_name, FOLDER.rglob("*.py")) if not name.startswith(THEIRS))


@pytest.mark.parametrize("name", OURS)
def test_it_is_importable(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_a_peer_that_did_other_work_is_refused() -> None:
    from benchmarks.peers.ratios import refuse_other_work, refused

    def side(rounds: int, moved: float) -> dict[str, object]:
        return {"rounds": rounds, "moved": moved, "tolerance": 0.02}

    sides = {"loop": side(20, 1.0), "fogline": side(20, 1.01), "pfl": side(20, 0.7), "flower": side(19, 1.0), "ray": {}}
    refuse_other_work(sides)
    assert [line.split(":")[0] for line in refused(sides)] == ["pfl", "flower"]


def test_a_code_in_a_tenth_of_the_bits_and_twice_the_rounds_spares_four_fifths_up() -> None:
    from benchmarks.compression.accuracy import compared

    def history(accuracies: list[float], up: float) -> list[dict[str, float]]:
        rows = enumerate(accuracies, 1)
        return [
            {"round": place, "accuracy": reached, "up/cloud": up * place, "total": (100 + up) * place}
            for place, reached in rows
        ]

    plain = history([0.5, 0.9], 100)
    found = compared(plain, history([0.25, 0.5, 0.7, 0.9], 10), 0.9)
    assert found["near"] == pytest.approx(5, rel=0.01)
    assert found["near_total"] == pytest.approx(200 / 220, rel=0.01)
    assert found["rounds"] == pytest.approx(2, rel=0.01)
    below = compared(plain, history([0.25, 0.5, 0.885], 10), 0.9)
    assert (below["near"], below["rounds"]) == (0, 0)
    assert below["far"] > 0
    assert below["points"] == pytest.approx(-1.5)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(16, 7), nn.ReLU(), nn.Linear(7, 3)),
        nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3),
        ),
    ],
    ids=["dense", "convolutions"],
)  # fmt: skip
def test_loops_by_hand_compute_what_the_textbook_does(model: nn.Module) -> None:
    from benchmarks.simulation.handmade import hand_made
    from benchmarks.simulation.rounds import AGREES, plain_round

    rng, clients, examples = np.random.default_rng(0), 4, 10
    x = rng.normal(size=(clients * examples, 1, 4, 4)).astype(np.float32)
    y = rng.integers(0, 3, clients * examples)
    parts = np.split(np.arange(len(y)), clients)
    task = TorchTask(lambda: copy.deepcopy(model), from_arrays("random", x, y, parts, classes=3))
    start = torch.from_numpy(task.initial(0).vector)
    threads = torch.get_num_threads()
    with hand_made(Work(task, 4, 0.05)) as rounds:
        drawn = list(orders(3, clients, examples))
        mean = plain_round(task, 4, 0, 1, drawn)
        wanted = torch.cat([mean[entry.name].flatten() for entry in task.layout.trainable])
        for name, side in rounds.items():
            apart = (side(start, 3) - wanted).norm() / (wanted - start).norm()
            assert apart < AGREES, name
    torch.set_num_threads(threads)
    assert len(rounds) >= 3

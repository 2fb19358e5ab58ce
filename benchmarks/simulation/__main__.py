"""Seconds per round of simulated local training, beside the textbook's PyTorch loop and the best loops by hand.

A round: 20 devices with 60 examples each (``ragged``: 10 to 120) train one epoch of SGD from the same model, and
their models are averaged. ``plain`` is one module, autograd, ``torch.optim.SGD`` and a running mean, with one
thread or two, whichever is faster. ``hand`` is the fastest of the loops of ``benchmarks.simulation.loops`` that suit
the model, in one process or two: found in a first trial of all, of which the best three go on. ``fogline`` is the
executor with two worker processes and the engine and chunk that the calibration chose, from the jobs to the folded
mean. The sides take turns; medians are reported, and a side that computed other numbers than the textbook's loop
ends the benchmark.

Run: python -m benchmarks.simulation [--models tiny mlp ...] [--repeats 7] [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import console, median, report
from benchmarks.simulation.handmade import hand_made
from benchmarks.simulation.rounds import check, choice_of, fogline_rounds, plain_round
from benchmarks.simulation.settings import CLIENTS, EXAMPLES, MODELS, RAGGED, RATE, Model, data_of
from benchmarks.simulation.work import Round, Work
from fogline.training import LocalTraining
from fogline.training.torch import TorchTask

SECONDS = 25.0
"""What the turns of one setting may take, once there were three."""
ENOUGH = 540.0
"""Seconds after which no further setting is begun."""
HOPELESS = 4.0
"""A loop by hand that takes so many times as long as the best in its first round has no second."""
BEST = 3
"""Loops by hand that are measured to the end."""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="batch 10 without ragged devices; nothing is saved")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    settings = [("b10", 10, [EXAMPLES] * CLIENTS)]
    if not options.quick:
        settings += [("b32", 32, [EXAMPLES] * CLIENTS), ("b10_ragged", 10, RAGGED)]
    began = time.perf_counter()
    for label, batch, sizes in settings:
        for name in options.models:
            if time.perf_counter() - began > ENOUGH:
                console.print(f"{name}_{label}: left out, the time is up")
                continue
            row = compare(MODELS[name], sizes, batch, options.repeats)
            result[f"{name}_{label}"] = row
            console.print(f"{name}_{label}: {row}")
    whole = len(result) == len(MODELS) * len(settings)
    report("simulation", result, keep=whole and not options.quick)


def compare(model: Model, sizes: Sequence[int], batch: int, repeats: int) -> dict[str, Any]:
    """All sides in turns; medians."""
    task = TorchTask(model.make, data_of(model, sizes))
    local = LocalTraining(learning_rate=RATE, batch_size=batch)
    start = torch.from_numpy(task.initial(0).vector)
    choice = choice_of(task, local)
    # Loops by hand are written for devices of one size. They come first: their children are forked.
    equal = len(set(sizes)) == 1
    with hand_made(Work(task, batch, RATE) if equal else None) as by_hand, fogline_rounds(task, local, choice) as ours:
        check(task, batch, by_hand, ours)
        sides: dict[str, Callable[[int], object]] = {
            "plain1": lambda r: plain_round(task, batch, r, threads=1),
            "plain2": lambda r: plain_round(task, batch, r, threads=2),
            "fogline": ours,
        }
        for name in fastest(by_hand, start):
            sides[name] = lambda r, side=by_hand[name]: side(start, r)
        times = in_turns(sides, repeats)
    plain, fogline = min(median(times[name]) for name in ("plain1", "plain2")), median(times["fogline"])
    row: dict[str, Any] = {"plain": plain, "fogline": fogline, "speedup": round(plain / fogline, 2)}
    if by_hand:
        best = min(set(times) & set(by_hand), key=lambda name: median(times[name]))
        row |= {"hand": median(times[best]), "over_hand": round(fogline / median(times[best]), 2), "by_hand": best}
    return row | {"engine": f"{choice.engine}, {choice.chunk} at once"}


def in_turns(sides: Mapping[str, Callable[[int], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every side, turn by turn, without the first, which warms up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    began = time.perf_counter()
    for r in range(repeats + 1):
        if r > 3 and time.perf_counter() - began > SECONDS:
            break
        for name, side in sides.items():
            inner = rounds_each(times[name])
            start = time.perf_counter()
            for i in range(inner):
                side(r * 100 + i)
            times[name].append((time.perf_counter() - start) / inner)
    return {name: taken[1:] for name, taken in times.items()}


def fastest(by_hand: Mapping[str, Round], start: Tensor) -> list[str]:
    """The best loops by hand of a short trial, by their shortest round."""
    seconds: dict[str, float] = {}
    for name, side in by_hand.items():
        for r in range(4):
            before = time.perf_counter()
            side(start, r)
            taken = seconds[name] = min(seconds.get(name, float("inf")), time.perf_counter() - before)
            if taken > HOPELESS * min(seconds.values()):
                break
    return sorted(seconds, key=lambda name: seconds[name])[:BEST]


def rounds_each(before: Sequence[float]) -> int:
    """Short rounds are timed several at a time."""
    return max(1, min(20, int(0.05 / before[-1]))) if before else 1


if __name__ == "__main__":
    main()

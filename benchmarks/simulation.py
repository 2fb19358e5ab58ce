"""Seconds per round of simulated local training, beside the textbook's PyTorch loop and the best loops by hand.

A round: 20 devices with 60 examples each (``ragged``: 10 to 120) train one epoch of SGD from the same model, and
their models are averaged. ``plain`` is one module, autograd, ``torch.optim.SGD`` and a running mean, with one
thread or two, whichever is faster. ``hand`` is the fastest of the loops of ``benchmarks.hand_loops`` that suit the
model, in one process or two: found in a first trial of all, of which the best three go on. ``fogline`` is the
executor with two worker processes and the engine and chunk that the calibration chose, from the jobs to the folded
mean. The sides take turns; medians are reported, and a side that computed other numbers than the textbook's loop
ends the benchmark.

Run: python -m benchmarks.simulation [--models tiny mlp ...] [--repeats 7] [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import console, median, report
from benchmarks.hand import Round, Work, hand_made, orders
from fogline.aggregation import MeanFold
from fogline.algorithms import FedAvg
from fogline.data import FederatedData, from_arrays
from fogline.params import Vector
from fogline.simulation.executor import Executor
from fogline.training import Choice, ClientJob, LocalTraining, autotune
from fogline.training.shuffling import Shuffler
from fogline.training.torch import TorchTask, models

CLIENTS, EXAMPLES, PROCESSES, RATE = 20, 60, 2, 0.05
RAGGED = [int(size) for size in np.linspace(10, 120, CLIENTS)]
TOKENS, VOCABULARY = 40, 80
SECONDS = 25.0
"""What the turns of one setting may take, once there were three."""
ENOUGH = 540.0
"""Seconds after which no further setting is begun."""
HOPELESS = 4.0
"""A loop by hand that takes so many times as long as the best in its first round has no second."""
BEST = 3
"""Loops by hand that are measured to the end."""
AGREES = 1e-3
"""How far a side's model may be from the textbook's, as a share of the way that a round moves the model: what training
rounds stays below a tenth of it, and a batch left out, or taken twice, moves the model by a tenth."""
ROUNDED = 4 * float(np.finfo(np.float32).eps)
"""And as a share of the model itself, whose mean is rounded, however little it moves: the LSTM by a ten-thousandth."""


class Model(NamedTuple):
    """A model and the shape of its inputs; ``classes`` None marks sequences of tokens."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int | None = 10


MODELS = {
    "tiny": Model(lambda: models.mlp(32, (64, 32), 10), (32,)),
    "mlp": Model(models.mlp, (784,)),
    "lenet": Model(models.lenet, (1, 28, 28)),
    "cnn": Model(lambda: models.leaf_cnn(10, 512), (1, 28, 28)),
    "lstm": Model(lambda: models.char_lstm(VOCABULARY), (TOKENS,), None),
    "transformer": Model(lambda: models.small_transformer(VOCABULARY, length=TOKENS), (TOKENS,), None),
}


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


def check(task: TorchTask, batch: int, by_hand: Mapping[str, Round], ours: Callable[[int], Vector]) -> None:
    """Refuse to compare sides that do not compute what the textbook's loop does on the same batches."""
    clients, seed = len(task.data.clients), 7
    start = torch.from_numpy(task.initial(0).vector)

    def textbook(order: Sequence[Tensor]) -> Tensor:
        mean = plain_round(task, batch, 0, 1, order)  # Its seed is that of the model.
        return torch.cat([mean[entry.name].flatten() for entry in task.layout.trainable])

    shuffler, sizes = Shuffler(), task.data.sizes().tolist()
    drawn = [torch.from_numpy(next(shuffler.epochs(seed * CLIENTS + i, size))) for i, size in enumerate(sizes)]
    pairs = [("fogline", torch.from_numpy(ours(seed)), textbook(drawn))]
    if by_hand:
        same = textbook(list(orders(seed, clients, sizes[0])))
        pairs += [(name, side(start, seed), same) for name, side in by_hand.items()]
    for name, got, wanted in pairs:
        apart, way = float((got - wanted).norm()), float((wanted - start).norm())
        if not apart < AGREES * way + ROUNDED * float(start.norm()):
            part = f"{apart / way:.1e} of the way apart"
            raise SystemExit(f"{name} computes other numbers than the textbook's loop: {part}.")


def rounds_each(before: Sequence[float]) -> int:
    """Short rounds are timed several at a time."""
    return max(1, min(20, int(0.05 / before[-1]))) if before else 1


def data_of(model: Model, sizes: Sequence[int]) -> FederatedData:
    """Random examples."""
    rng, total = np.random.default_rng(0), sum(sizes)
    if model.classes is None:
        x: Any = rng.integers(0, VOCABULARY, (total, *model.shape))
        y: Any = np.roll(x, -1, -1)
    else:
        x = rng.normal(size=(total, *model.shape)).astype(np.float32)
        y = rng.integers(0, model.classes, total)
    parts = np.split(np.arange(total), np.cumsum(sizes)[:-1])
    return from_arrays("random", x, y, parts, classes=model.classes or VOCABULARY)


def jobs_of(task: TorchTask, local: LocalTraining, vector: Any, counters: Any, seed: int) -> list[ClientJob]:
    """The cohort of a round."""
    sizes = task.data.sizes().tolist()
    return [
        ClientJob(i, vector, counters, local.step_count(size), RATE, seed * CLIENTS + i) for i, size in enumerate(sizes)
    ]


def choice_of(task: TorchTask, local: LocalTraining) -> Choice:
    """Engine and chunk, as a run would choose them."""
    start = task.initial(0)
    with task.one_thread():
        jobs = jobs_of(task, local, start.vector, start.counters, 0)
        return autotune(task, FedAvg(), local, jobs, processes=PROCESSES)


@contextmanager
def fogline_rounds(task: TorchTask, local: LocalTraining, choice: Choice) -> Iterator[Callable[[int], Vector]]:
    """A round of Fogline: jobs, training in workers, the mean, the next model."""
    algorithm, params = FedAvg(), task.initial(0)
    engine = lambda: task.build(choice.engine, algorithm, local)  # noqa: E731
    with task.one_thread():
        executor = Executor(task, algorithm, engine, choice.chunk, PROCESSES)

    def run(seed: int) -> Vector:
        fold = MeanFold()
        with task.one_thread():
            for done in executor.run(jobs_of(task, local, params.vector, params.counters, seed)):
                assert done.update is not None
                fold.add(done.update)
            return params.vector + fold.finish().mean("delta")

    with executor:
        yield run


def plain_round(
    task: TorchTask, batch: int, seed: int, threads: int, order: Sequence[Tensor] | None = None
) -> dict[str, Tensor]:
    """A round as a textbook writes it; ``order``: how devices take their examples, if not as they draw."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    module = task.untrained()
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    mean = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
    total = int(task.data.sizes().sum())
    for client in range(len(task.data.clients)):
        examples = task.data.at(client)
        x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
        module.load_state_dict(start)
        optimizer = torch.optim.SGD(module.parameters(), RATE)
        for rows in (torch.randperm(len(y)) if order is None else order[client]).split(batch):
            optimizer.zero_grad()
            outputs = module(x[rows])
            loss = nn.functional.cross_entropy(outputs.flatten(0, -2), y[rows].flatten())
            loss.backward()
            optimizer.step()
        for name, tensor in module.state_dict().items():
            mean[name] += tensor * (len(y) / total)
    return mean


if __name__ == "__main__":
    main()

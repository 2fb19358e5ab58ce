"""Seconds per round of simulated local training, beside the plain PyTorch loop of a textbook.

A round: 20 devices with 60 examples each (``ragged``: 10 to 120) train one epoch of SGD from the same model, and
their models are averaged. ``plain`` is one module, autograd, ``torch.optim.SGD`` and a running mean, with one
thread or two, whichever is faster. ``fogline`` is the executor on two worker processes with the engine and chunk
that the calibration chose, from the jobs to the folded mean. The sides take turns; medians are reported.

Run: python -m benchmarks.simulation [--models tiny mlp ...] [--repeats 7] [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import console, median, report
from fogline.aggregation import MeanFold
from fogline.algorithms import FedAvg
from fogline.data import FederatedData, from_arrays
from fogline.simulation.executor import Executor
from fogline.training import Choice, ClientJob, LocalTraining, choose
from fogline.training.torch import TorchTask, models

CLIENTS, EXAMPLES, PROCESSES, RATE = 20, 60, 2, 0.05
RAGGED = [int(size) for size in np.linspace(10, 120, CLIENTS)]
TOKENS, VOCABULARY = 40, 80


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
    for name in options.models:
        settings = [("b10", 10, [EXAMPLES] * CLIENTS)]
        if not options.quick:
            settings += [("b32", 32, [EXAMPLES] * CLIENTS), ("b10_ragged", 10, RAGGED)]
        for label, batch, sizes in settings:
            row = compare(MODELS[name], sizes, batch, options.repeats)
            result[f"{name}_{label}"] = row
            console.print(f"{name}_{label}: {row}")
    report("simulation", result, keep=not options.quick)


def compare(model: Model, sizes: Sequence[int], batch: int, repeats: int) -> dict[str, Any]:
    """Both sides in turns; medians."""
    task = TorchTask(model.make, data_of(model, sizes))
    local = LocalTraining(learning_rate=RATE, batch_size=batch)
    choice = choice_of(task, local)
    times: dict[str, list[float]] = {"plain1": [], "plain2": [], "fogline": []}
    with fogline_rounds(task, local, choice) as fogline_round:
        sides: list[tuple[str, Callable[[int], object]]] = [
            ("plain1", lambda r: plain_round(task, batch, r, threads=1)),
            ("plain2", lambda r: plain_round(task, batch, r, threads=2)),
            ("fogline", fogline_round),
        ]
        for r in range(repeats + 1):  # The first of each warms up.
            for name, side in sides:
                inner = rounds_each(times[name])
                start = time.perf_counter()
                for i in range(inner):
                    side(r * 100 + i)
                times[name].append((time.perf_counter() - start) / inner)
    plain, fogline = min(median(times[n][1:]) for n in ("plain1", "plain2")), median(times["fogline"][1:])
    engine = f"{choice.engine}, {choice.chunk} at once"
    return {"plain": plain, "fogline": fogline, "speedup": round(plain / fogline, 2), "engine": engine}


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
        return choose(task, FedAvg(), local, jobs, processes=PROCESSES)


@contextmanager
def fogline_rounds(task: TorchTask, local: LocalTraining, choice: Choice) -> Iterator[Callable[[int], object]]:
    """A round of Fogline: jobs, training in workers, the mean, the next model."""
    algorithm, params = FedAvg(), task.initial(0)
    engine = lambda: task.build(choice.engine, algorithm, local)  # noqa: E731
    with task.one_thread():
        executor = Executor(task, algorithm, engine, choice.chunk, PROCESSES)

    def run(seed: int) -> object:
        fold = MeanFold()
        with task.one_thread():
            for done in executor.run(jobs_of(task, local, params.vector, params.counters, seed)):
                assert done.update is not None
                fold.add(done.update)
            return params.vector + fold.finish().mean("delta")

    with executor:
        yield run


def plain_round(task: TorchTask, batch: int, seed: int, threads: int) -> dict[str, Tensor]:
    """A round as a textbook writes it."""
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
        for rows in torch.randperm(len(y)).split(batch):
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

"""A round as the textbook writes it, one of Fogline, and the check that sides compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.simulation.settings import CLIENTS, PROCESSES, RATE
from benchmarks.simulation.work import Round, orders
from fogline.aggregation import MeanFold
from fogline.algorithms import FedAvg
from fogline.params import Vector
from fogline.simulation.executors import Bench
from fogline.simulation.executors.processes import ProcessExecutor
from fogline.training import Choice, ClientJob, LocalTraining, autotune
from fogline.training.shuffling import Shuffler
from fogline.training.torch import TorchTask

AGREES = 1e-2
"""How far a side's model may be from the textbook's, as a share of the way that a round moves the model: rounding alone
makes less than half of it (most where two numbers of a pooling window nearly tie), and a batch left out, or taken
twice, moves the model by a tenth."""
ROUNDED = 4 * float(np.finfo(np.float32).eps)
"""And as a share of the model itself, whose mean is rounded, however little it moves: the LSTM by a ten-thousandth."""


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
        executor = ProcessExecutor(Bench(task, algorithm, engine, choice.chunk), PROCESSES)

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

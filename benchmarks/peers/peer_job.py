"""The job that every side of the peer benchmark runs: models, data, local training, output line.

Needs only PyTorch, and imports nothing else of this repository: each peer's interpreter loads it.
Batches come in a fixed order, so with every client sampled all sides must reach the same parameters.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn

SAMPLES, BATCH, RATE, CLASSES = 60, 10, 0.1, 10
DISTINCT = 1000  # client i holds data set i mod DISTINCT, so a large population fits in memory
MODELS = ("tiny", "mlp", "cnn")
SHAPES = {"tiny": (32,), "mlp": (784,), "cnn": (1, 28, 28)}


@dataclass(frozen=True)
class Job:
    """What to run: `rounds` includes the warm-up rounds, which the caller drops."""

    model: str
    clients: int
    cohort: int
    rounds: int


def arguments() -> Job:
    parser = argparse.ArgumentParser(description="Run one federated job and print its seconds per round.")
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--cohort", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    return Job(**vars(parser.parse_args()))


def flags(job: Job) -> list[str]:
    """The command line that `arguments` reads back."""
    return [part for name, value in asdict(job).items() for part in (f"--{name}", str(value))]


def build(model: str) -> nn.Module:
    """The initial model, the same in every process."""
    torch.manual_seed(0)
    return nn.Sequential(*_layers(model))


@cache
def resident(model: str) -> nn.Module:
    """A client process's own copy, single-threaded, kept between rounds."""
    torch.set_num_threads(1)
    return build(model)


def _layers(model: str) -> list[nn.Module]:
    if model == "tiny":
        return [nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES)]
    if model == "mlp":
        return [nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, CLASSES)]
    convolutions = [nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    convolutions += [nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return [*convolutions, nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, CLASSES)]


@cache
def _centres(model: str) -> Tensor:
    return torch.randn((CLASSES, *SHAPES[model]), generator=torch.Generator().manual_seed(1))


def data(model: str, client: int) -> tuple[Tensor, Tensor]:
    """A client's samples: noisy copies of ten class centres. Kept, so a second call costs nothing."""
    return _data(model, client % DISTINCT)


@cache
def _data(model: str, index: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + index)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    noise = torch.randn((SAMPLES, *SHAPES[model]), generator=generator)
    return 0.2 * _centres(model)[labels] + noise, labels


@cache
def batches(model: str, index: int) -> list[tuple[Tensor, Tensor]]:
    samples, labels = data(model, index)
    return list(zip(samples.split(BATCH), labels.split(BATCH), strict=True))


def train(module: nn.Module, model: str, client: int) -> None:
    """One epoch of plain SGD, for the sides whose user writes the training loop."""
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    for samples, labels in batches(model, client % DISTINCT):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(samples), labels).backward()
        optimizer.step()


@torch.no_grad()
def load(module: nn.Module, values: Iterable[Tensor]) -> None:
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.copy_(value)


def load_vector(module: nn.Module, values: Tensor) -> None:
    parameters = list(module.parameters())
    parts = values.split([parameter.numel() for parameter in parameters])
    load(module, (part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)))


def vector(module: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach()


@torch.no_grad()
def _loss(module: nn.Module, model: str) -> float:
    pairs = [data(model, client) for client in range(5)]
    samples, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return float(nn.functional.cross_entropy(module(samples), labels))


def finish(job: Job, stamps: Sequence[float], module: nn.Module, **more: object) -> None:
    """Print the line that the caller reads: seconds between `stamps`, and what tells how much was done.

    `rounds` were done, and `moved` is how far they took the model from its start, in the Euclidean norm.
    """
    first = build(job.model)
    moved = vector(module) - vector(first)
    line = {
        "seconds": [after - before for before, after in pairwise(stamps)],
        "rounds": len(stamps) - 1,
        "loss_before": _loss(first, job.model),
        "loss_after": _loss(module, job.model),
        "moved": float(moved.norm()),
        **more,
    }
    sys.stdout.write("\n" + json.dumps(line) + "\n")
    sys.stdout.flush()

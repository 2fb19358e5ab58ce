"""What a job means for each device: its place in the tree, and how much it trains from which seed."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Sequence
from functools import cache, reduce

import msgspec
import numpy as np

from fogline.algorithms import Algorithm
from fogline.data import FederatedData
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job, Local
from fogline.jobs.tree import Tree
from fogline.training.local import LocalTraining
from fogline.training.shuffling import cuts
from fogline.training.task import Task

MASK = (1 << 64) - 1


class LocalPlan(msgspec.Struct, frozen=True, gc=False):
    """How much a device trains, and from which seed."""

    steps: int
    examples: int
    """Examples it passes over in all."""
    samples: int
    """Examples it has."""
    learning_rate: float
    seed: int


Planner = Callable[[int, int, int], LocalPlan]
"""(client, round, attempt) to what it does: ``attempt`` counts the device's own local rounds."""


def with_defaults(job: Job, algorithm: Algorithm, task: Task) -> Job:
    """The job with the method's and the model's own settings of local training, where the job says nothing else.

    Raises:
        JobError: the method's are none.
    """
    said = job.local.model_fields_set
    defaults = {"smallest_batch": task.smallest_batch, **algorithm.local_defaults}
    changes = {name: value for name, value in defaults.items() if name not in said}
    try:
        local = Local(**{name: getattr(job.local, name) for name in said} | changes)
    except JobError as error:
        raise JobError(f"The settings of {type(algorithm).__name__} (local_defaults) cannot be: {error}") from None
    return job.model_copy(update={"local": local}) if changes else job


def local_training(local: Local) -> LocalTraining:
    """The part of a job's local table that engines see."""
    return LocalTraining(**local.model_dump(include=set(LocalTraining.model_fields)))


def assign(tree: Tree, data: FederatedData) -> list[str]:
    """The aggregator above each device, by client.

    Raises:
        JobError: the tree wants natural groups and the data has none, or more aggregators than devices.
    """
    leaves = tree.leaves()
    count = len(data.clients)
    if count < len(leaves):
        raise JobError(f"The tree has {len(leaves)} aggregators above {count} devices; give each at least one.")
    if tree.assign == "groups":
        if data.groups is None:
            raise JobError(f"tree.assign is 'groups', but the data set '{data.name}' has no natural groups.")
        place = {group: i for i, group in enumerate(sorted(set(data.groups.values())))}
        return [leaves[place[data.groups[client]] % len(leaves)] for client in data.clients]
    if tree.assign == "blocks":
        return [leaves[i * len(leaves) // count] for i in range(count)]
    return [leaves[i % len(leaves)] for i in range(count)]


def planner(job: Job, samples: Sequence[int]) -> Planner:
    """How much each device trains in each of its rounds; ``samples``: how many each has, by client."""
    local = local_training(job.local)
    work, rounds = job.local.work, job.rounds
    states = _states(_mixed_in(0, job.seed), len(samples))

    @cache
    def whole(samples: int) -> tuple[int, int]:
        """Steps, and examples passed over, of a device that does all the work."""
        steps = local.step_count(samples)
        return steps, examples_of(local, samples, steps)

    @cache
    def rate(round_index: int) -> float:
        return local.rate(round_index, rounds)

    def plan(client: int, round_index: int, attempt: int) -> LocalPlan:
        seed = _mixed_in(states[client], attempt) >> 1
        held = samples[client]
        if work is None:
            steps, examples = whole(held)
        else:
            steps = local.step_count(held, random.Random(seed).uniform(*work))
            examples = examples_of(local, held, steps)
        return LocalPlan(steps, examples, held, rate(round_index), seed)

    return plan


def examples_of(local: LocalTraining, samples: int, steps: int) -> int:
    """Examples that a device passes over in so many steps; the last batch of an epoch may be smaller."""
    batch = min(local.batch_size or samples, samples)
    epochs, rest = divmod(steps, len(cuts(samples, batch, local.smallest_batch)))
    return epochs * samples + rest * batch


def mix(*numbers: int) -> int:
    """A seed from numbers: 63 bits, by splitmix64's finaliser."""
    return reduce(_mixed_in, numbers, 0) >> 1


def _mixed_in(state: int, number: int) -> int:
    state = (state + number + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def _states(start: int, count: int) -> array[int]:
    """``start`` mixed with each number below ``count``."""
    with np.errstate(over="ignore"):  # Modulo 2^64, as :func:`_mixed_in`.
        state = np.arange(count, dtype=np.uint64) + np.uint64(start + 0x9E3779B97F4A7C15 & MASK)
        state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return array("Q", (state ^ state >> np.uint64(31)).tobytes())

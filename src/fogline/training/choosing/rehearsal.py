"""A few devices with a few of their real examples, on which engines are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from fogline.data import FederatedData
from fogline.params import State, Vector
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.task import Task
from fogline.user_code.bugs import attempt

DEVICES, STEPS = 4, (3, 4, 2, 3)
"""So many devices, and so many steps of each: a full batch, the ragged one after it, and into the next pass."""
FEW_DEVICES, FEW_STEPS = 2, (2, 1)
"""The same for a model of which a step costs more."""
COSTLY = 3.0e3
"""MFLOP that one pass over all devices and steps may cost before it is cut down to few."""
WHOLE = 24
"""Examples of the largest device where a batch is all that a device has."""
NOISE = 0.05
"""How far the second pass begins from where the first ended, as a share of the weights' size."""
PERIOD = 65_521
"""Numbers that are drawn at most."""
TYPICAL = 0.05
"""Size of a weight where all of them are zero."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A twin of a task with small devices, and their jobs of the first pass."""

    task: Task
    jobs: list[ClientJob]

    def at_rate(self, factor: float) -> Rehearsal:
        """The same at so many times the learning rate."""
        return Rehearsal(self.task, [replace(job, learning_rate=job.learning_rate * factor) for job in self.jobs])

    def again(self, ends: Sequence[LocalResult], rng: np.random.Generator, noise: bool) -> list[ClientJob]:
        """The second pass: other seeds, and every device from a place and with a state of its own.

        States begin alike, often at zero, where a mistake in them would not show. ``noise`` on them is positive, so
        that what must be positive stays so.
        """
        share = NOISE if noise else 0.0
        head, weights = self.task.spec.trainable, self.task.shared.trainable
        shared = _Shared(rng, weights, share)
        return [
            replace(
                job,
                seed=job.seed ^ 0x5DEECE66D,
                start=moved(trained.end, head, share, rng),
                counters=trained.counters.copy(),
                local=noisy(job.local, weights, share, rng),
                received=shared.of(job.received),
            )
            for job, trained in zip(self.jobs, ends, strict=True)
        ]


def rehearse(task: Task, local: LocalTraining, jobs: Sequence[ClientJob]) -> Rehearsal | None:
    """Devices among ``jobs`` whose batches differ: full, ragged, and smaller than a batch, as they occur.

    None if there is none whose examples can be loaded.
    """
    sizes = task.data.sizes()
    cuts = {job.client: _cut(int(sizes[job.client]), int(sizes.max()), local) for job in jobs}
    batch = min(local.batch_size or WHOLE, WHOLE if local.batch_size is None else max(cuts.values(), default=1))
    costly = task.cost * batch * sum(STEPS) > COSTLY
    devices, steps = (FEW_DEVICES, FEW_STEPS) if costly else (DEVICES, STEPS)
    chosen = [job for job in _spread(jobs, cuts, devices) if cuts[job.client] > 0]
    sample = _sample(task, chosen, cuts)
    if isinstance(sample, Exception):  # Whose data cannot be loaded will fail by itself, and say so.
        chosen = [job for job in chosen if not isinstance(attempt(partial(task.data.at, job.client)), Exception)]
        sample = _sample(task, chosen, cuts)
    if isinstance(sample, Exception):
        return None
    twin = task.rehearsal(sample)
    plays = [
        replace(job, client=place, steps=count) for place, (job, count) in enumerate(zip(chosen, steps, strict=False))
    ]
    return Rehearsal(twin, plays)


def _sample(task: Task, jobs: Sequence[ClientJob], cuts: Mapping[int, int]) -> FederatedData | Exception:
    return attempt(lambda: task.data.sample({job.client: cuts[job.client] for job in jobs}))


def moved(vector: Vector, head: int, share: float, rng: np.random.Generator) -> Vector:
    """A vector whose trainable head has Gaussian noise, as a share of its weights' size.

    The rest (running means, frozen weights) grows by less than that, number by number, so that signs stay.
    """
    changed = vector.copy()
    size = float(np.sqrt(np.mean(np.square(vector[:head], dtype=np.float64)))) if head else 0.0
    changed[:head] += share * (size or TYPICAL) * _normal(rng, head)
    changed[head:] *= 1.0 + share * np.abs(_normal(rng, len(vector) - head))
    return changed


def _normal(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """Gaussian numbers; many are some of them over and over, as to draw them all takes longer than to train."""
    return np.resize(rng.standard_normal(min(size, PERIOD), np.float32), size)


def _cut(size: int, largest: int, local: LocalTraining) -> int:
    """So many of a device's examples that a pass over them has its last batch, and a full one before where there is."""
    batch = local.batch_size
    if batch is None:
        return max(min(size, 1), round(size * min(1.0, WHOLE / largest)))
    return size if size <= batch else batch + (size % batch or batch)


def _spread(jobs: Sequence[ClientJob], cuts: Mapping[int, int], most: int) -> Iterator[ClientJob]:
    """Jobs of sizes as different as there are; two of one size at least, which may step together in any case."""
    by_cut: dict[int, list[ClientJob]] = {}
    for job in {job.client: job for job in jobs}.values():
        by_cut.setdefault(cuts[job.client], []).append(job)
    sizes = sorted(by_cut)
    distinct = min(len(sizes), most - 1 if any(len(alike) > 1 for alike in by_cut.values()) else most)
    places = {round(place) for place in np.linspace(0, len(sizes) - 1, distinct)}
    first = [by_cut[sizes[place]][0] for place in sorted(places, reverse=True)]
    rest = [job for alike in sorted(by_cut.values(), key=lambda alike: alike[0] not in first) for job in alike[1:]]
    yield from [*first, *rest][:most]


class _Shared:
    """What an algorithm sent down, changed once for all devices that share it."""

    def __init__(self, rng: np.random.Generator, head: int, share: float) -> None:
        self._rng, self._head, self._share = rng, head, share
        self._made: dict[int, State] = {}

    def of(self, state: State) -> State:
        if id(state) not in self._made:
            self._made[id(state)] = noisy(state, self._head, self._share, self._rng)
        return self._made[id(state)]


def noisy(state: State, head: int, share: float, rng: np.random.Generator) -> State:
    """A state with positive noise of a share of its size."""
    return {name: _vary(vector, head, share, rng) for name, vector in state.items()}


def _vary(vector: Vector, head: int, share: float, rng: np.random.Generator) -> Vector:
    """A vector like the weights is moved; any other keeps its zeros, as it may be a count or a mark."""
    size = float(np.sqrt(np.mean(np.square(vector, dtype=np.float64)))) if vector.size else 0.0
    noise = share * np.abs(_normal(rng, vector.size)).reshape(vector.shape)
    return (vector + noise * ((size or TYPICAL) if vector.size == head else np.abs(vector))).astype(vector.dtype)

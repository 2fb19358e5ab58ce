"""What of a model stays on its device: private entries, which each device trains for itself, and frozen ones.

What comes down is the shared part of the model. A device trains the whole: the rest is what it kept from its last
round, or, before it has trained, what the first model has there. What it keeps lies in its state, under names that no
hook sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import cast

import numpy as np

from fogline.params import Counters, Params, SharedPart, State, Vector
from fogline.training.local import ClientJob, LocalResult

FLOATS, COUNTERS = "home/floats", "home/counters"
"""Names in a device's state under which its private entries lie."""


class Home:
    """What stays on the devices of a task, and where its values come from.

    Args:
        part: which entries.
        first: gives the whole model before any training: asked once, when it is needed. What is frozen is as there, and
            so is what is private on a device that has not trained yet.
    """

    def __init__(self, part: SharedPart, first: Callable[[], Params]) -> None:
        self.part = part
        self._first = first

    @cached_property
    def first(self) -> Params:
        """The whole model before any training."""
        return self._first()

    def opened(self, jobs: Sequence[ClientJob]) -> list[ClientJob]:
        """Jobs for the shared part as jobs for the whole model; devices that have nothing of their own share one."""
        shared: dict[tuple[int, int], Params] = {}
        made: list[ClientJob] = []
        for job in jobs:
            key = id(job.start), id(job.counters)
            if FLOATS in job.local or key not in shared:
                whole = self.whole(Params(self.part.shared, job.start, job.counters), job.local)
                if FLOATS not in job.local:
                    shared[key] = whole
            else:
                whole = shared[key]
            made.append(replace(job, start=whole.vector, counters=whole.counters, local=seen(job.local)))
        return made

    def whole(self, shared: Params, local: State) -> Params:
        """A device's model, from the shared part of one and what the device keeps."""
        part = self.part
        vector = part.floats.put(shared.vector, self.first.vector)
        counters = part.counters.put(shared.counters, self.first.counters)
        if FLOATS in local:
            part.private_floats.lay(local[FLOATS], vector)
            part.private_counters.lay(local[COUNTERS], counters)
        return Params(part.whole, vector, counters)

    def kept(self, trained: LocalResult) -> State:
        """What a device keeps of a model that it trained."""
        part = self.part
        if not part.private:
            return {}
        counters = cast("Vector", part.private_counters.cut(trained.counters))
        return {FLOATS: np.array(part.private_floats.cut(trained.end)), COUNTERS: np.array(counters)}

    def cut(self, vector: Vector) -> Vector:
        """The shared part of a vector (floats,)."""
        return self.part.floats.cut(vector)

    def cut_counters(self, counters: Counters) -> Counters:
        """The shared part of counters (integers,)."""
        return self.part.counters.cut(counters)

    def moved_frozen(self, end: Vector, start: Vector | None = None) -> str | None:
        """Name of a frozen entry that training changed; None if there is none, as it should be.

        Args:
            end: (floats,) where training ended.
            start: (floats,) where it started; None: ``end`` is the distance.
        """
        frozen = self.part.frozen
        moved = frozen.cut(end) if start is None else frozen.cut(end) - frozen.cut(start)
        if not moved.any():
            return None
        entries = [entry for entry in self.part.whole.entries if entry.role == "frozen" and entry.is_float]
        parts = np.split(moved, np.cumsum([entry.count for entry in entries])[:-1])
        return next(entry.name for entry, part in zip(entries, parts, strict=True) if part.any())


def seen(local: State) -> State:
    """A device's state as hooks see it."""
    return {name: vector for name, vector in local.items() if name not in (FLOATS, COUNTERS)}

"""A rehearsal as the reference runs it, and how others differ from that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fogline.training.choosing.comparison import Disagreement, Pair, movement, norm
from fogline.training.choosing.rehearsal import NOISE, TYPICAL, Rehearsal, moved
from fogline.training.local import ClientJob, LocalResult
from fogline.training.task import Engine

SLOW, FAST, AIM = 1e-3, 0.3, 1e-2
"""How far the weights should move, relative to their size, for errors to stand out from rounding, and not to be blown
up: from SLOW to FAST, else the learning rate of the comparison is changed for them to move by AIM."""
KINK = 0.02
"""A difference up to this share may come from one number that rounding puts on the other side of a kink (a rectifier,
a maximum of nearly equal numbers), and is looked at again from another place."""

Results = list[tuple[ClientJob, LocalResult]]


@dataclass
class ReferenceRun:
    """What the reference makes of a rehearsal, in two passes.

    Args:
        rehearsal: devices and their examples.
        build: makes the reference anew.
        passes: its results.
    """

    rehearsal: Rehearsal
    build: Callable[[], Engine]
    passes: list[Results]

    def difference(self, engine: Engine) -> str | None:
        """What another engine does otherwise, in words; None if nothing."""
        data, spec = self.rehearsal.task.data, self.rehearsal.task.spec
        for number, results in enumerate(self.passes):
            others = engine.train([job for job, _ in results])
            for i, ((job, ours), theirs) in enumerate(zip(results, others, strict=True)):
                found = Pair(spec, job, ours, theirs, lambda n=number, i=i: self._shaken[n][i]).difference()
                if found is not None and found.share <= KINK:
                    found = self._once_more(engine, job)
                if found is not None:
                    also = "" if self._repeats else ", and the reference itself does other things when it is run again"
                    what = found.what.rstrip(".")
                    return f"on client '{data.clients[job.client]}', after {job.steps} steps, {what}{also}"
        return None

    def _once_more(self, engine: Engine, job: ClientJob) -> Disagreement | None:
        """The same device from another place: a number that lay at a kink there, does not here."""
        spec = self.rehearsal.task.spec
        job = replace(job, start=moved(job.start, spec.trainable, NOISE, np.random.default_rng(2)))
        ours, theirs = self.build().train([job])[0], engine.train([job])[0]
        return Pair(spec, job, ours, theirs, lambda: None).difference()

    @cached_property
    def _repeats(self) -> bool:
        """Whether the reference gives the same when it is run again."""
        engine = self.build()
        return all(
            np.array_equal(one.end, other.end) and np.array_equal(one.counters, other.counters)
            for results in self.passes
            for (_, one), other in zip(results, engine.train([job for job, _ in results]), strict=True)
        )

    @cached_property
    def _shaken(self) -> list[list[tuple[ClientJob, LocalResult] | None]]:
        """Its results from starts that are changed by rounding; they tell nothing if it does not repeat itself."""
        if not self._repeats:
            return [[None] * len(results) for results in self.passes]
        spec, rng, engine = self.rehearsal.task.spec, np.random.default_rng(1), self.build()
        share = 4.0 * float(np.finfo(spec.dtype).eps)
        shaken: list[list[tuple[ClientJob, LocalResult] | None]] = []
        for results in self.passes:
            jobs = [replace(job, start=moved(job.start, spec.trainable, share, rng)) for job, _ in results]
            shaken.append(list(zip(jobs, engine.train(jobs), strict=True)))
        return shaken


def run_reference(rehearsal: Rehearsal, build: Callable[[], Engine]) -> ReferenceRun | str:
    """Run the reference; why that is not possible, if it fails on every device.

    Args:
        rehearsal: devices and their examples; its learning rate is changed where weights would hardly move, or far.
        build: makes the reference anew.
    """
    why = ""
    for noise in (True, True, True, False):
        engine, rng = build(), np.random.default_rng(0)
        first = engine.train(rehearsal.jobs)
        whole = [(job, trained) for job, trained in zip(rehearsal.jobs, first, strict=True) if trained.failure is None]
        if not whole:
            why = first[0].failure or ""
            rehearsal = rehearsal.at_rate(1.0 / 30.0)
            continue
        factor = _factor(whole, rehearsal.task.spec.trainable)
        if factor != 1.0 and noise:
            rehearsal = rehearsal.at_rate(factor)
            continue
        jobs = rehearsal.again(first, rng, noise)
        second = engine.train(jobs)
        if any(trained.failure is None for trained in second):
            passes = [(rehearsal.jobs, first), (jobs, second)]
            return ReferenceRun(rehearsal, build, [list(zip(some, done, strict=True)) for some, done in passes])
        why = second[0].failure or ""
    return why


def _factor(results: Sequence[tuple[ClientJob, LocalResult]], head: int) -> float:
    """By how much the learning rate should be larger."""
    part = slice(head)
    size = max(norm(job.start[part]) for job, _ in results) + TYPICAL * head**0.5
    share = max(norm(movement(job, trained, part)) for job, trained in results) / size
    return 1.0 if share == 0.0 or SLOW <= share <= FAST else AIM / share

"""No engine is used on trust: before one is taken, its numbers are compared with the reference's.

For this model, loss, method and local training, on real examples: batches that are full, ragged and smaller than a
batch, several devices at once, in two passes with other seeds, states and places to start from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fogline.training.comparison import Difference, Pair, movement, norm
from fogline.training.local import ClientJob, LocalTraining, Trained
from fogline.training.method import LocalMethod
from fogline.training.rehearsal import NOISE, TYPICAL, Rehearsal, moved, rehearse
from fogline.training.task import Engine, Task

SLOW, FAST, AIM = 1e-3, 0.3, 1e-2
"""How far the weights should move, relative to their size, for errors to stand out from rounding, and not to be blown
up: from SLOW to FAST, else the learning rate of the comparison is changed for them to move by AIM."""


KINK = 0.02
"""A difference up to this share may come from one number that rounding puts on the other side of a kink (a rectifier,
a maximum of nearly equal numbers), and is looked at again from another place."""


_VERDICTS: dict[str, str | None] = {}
"""What comparisons of this process came to, by key."""


@dataclass
class Trust:
    """Compares engines for one job with the reference, whose results it keeps.

    Args:
        task: model and data.
        method: bends local steps.
        local: local training.
        jobs: devices of a cohort, after ``method.prepare``.
    """

    task: Task
    method: LocalMethod
    local: LocalTraining
    jobs: Sequence[ClientJob]
    known: str = ""
    """Key of a comparison that an earlier process made, with success."""
    _passes: list[_Pass] | str | None = field(default=None, init=False)

    def refuses(self, engine: str) -> str | None:
        """Why that engine must not be used for the job, as a sentence; None if it gives what the reference gives."""
        key = self.key(engine)
        if self._is_reference(engine) or (key and key == self.known):
            return None
        if key not in _VERDICTS or not key:
            verdict = self._compare(engine)
            if key:
                _VERDICTS[key] = verdict
            return verdict
        return _VERDICTS[key]

    def key(self, engine: str) -> str:
        """Digest of all that a comparison depends on; empty where that cannot be told, or nothing is to compare."""
        if self._is_reference(engine):
            return ""
        return f"{engine}-{self._digest}" if self._digest else ""

    @cached_property
    def _digest(self) -> str:
        code = self.task.digest(self.method)
        if code is None or self._rehearsal is None:
            return ""
        digest = hashlib.blake2b(f"{code} {self.local!r} {self.task.spec.digest}".encode(), digest_size=16)
        for job in self._rehearsal.jobs:
            vectors = {"start": job.start, "counters": job.counters, **job.local, **job.received}
            digest.update(repr((job.steps, job.learning_rate, job.seed, list(vectors))).encode())
            examples = self._rehearsal.task.data.at(job.client)
            for array in (*vectors.values(), *examples):
                digest.update(f"{array.shape} {array.dtype.str}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def _rehearsal(self) -> Rehearsal | None:
        return rehearse(self.task, self.local, self.jobs)

    def _is_reference(self, engine: str) -> bool:
        return engine == next(iter(self.task.engines()))

    def _compare(self, engine: str) -> str | None:
        reference = next(iter(self.task.engines()))
        with self.task.exact_arithmetic():
            if self._passes is None:
                self._passes = self._play(reference)
            if isinstance(self._passes, str):
                return f"it could not be compared with '{reference}': {self._passes}"
            other = self._build(engine, self._passes[0].rehearsal.task)
            for one in self._passes:
                difference = one.difference(other)
                if difference is not None:
                    return f"it gives other numbers than '{reference}' for this model, loss and method: {difference}."
        return None

    def _play(self, reference: str) -> list[_Pass] | str:
        """The passes of the reference; why there are none."""
        rehearsal = self._rehearsal
        if rehearsal is None:
            return "no device has examples."
        why = ""
        for noise in (True, True, True, False):
            engine, rng = self._build(reference, rehearsal.task), np.random.default_rng(0)
            first = engine.train(rehearsal.jobs)
            whole = [i for i, trained in enumerate(first) if trained.failure is None]
            if not whole:
                why = first[0].failure or ""
                rehearsal = rehearsal.at_rate(1.0 / 30.0)
                continue
            factor = _factor([(rehearsal.jobs[i], first[i]) for i in whole], self.task.spec.trainable)
            if factor != 1.0 and noise:
                rehearsal = rehearsal.at_rate(factor)
                continue
            jobs = rehearsal.again(first, rng, noise)
            second = engine.train(jobs)
            if any(second[i].failure is None for i in whole):
                return [
                    _Pass(rehearsal, rehearsal.jobs, first, engine),
                    _Pass(rehearsal, jobs, second, engine),
                ]
            why = second[whole[0]].failure or ""
        return why

    def _build(self, engine: str, task: Task) -> Engine:
        return self.task.engines()[engine](task, self.method, self.local)


@dataclass(slots=True)
class _Pass:
    """A pass over the devices of a rehearsal, as the reference made it."""

    rehearsal: Rehearsal
    jobs: list[ClientJob]
    results: list[Trained]
    reference: Engine
    _shaken: list[tuple[ClientJob, Trained]] = field(default_factory=list)

    def difference(self, engine: Engine) -> str | None:
        """What another engine does otherwise, with the device's name."""
        data, spec = self.rehearsal.task.data, self.rehearsal.task.spec
        others = engine.train(self.jobs)
        for i, (job, ours, theirs) in enumerate(zip(self.jobs, self.results, others, strict=True)):
            found = Pair(spec, job, ours, theirs, lambda i=i: self._shake()[i]).difference()
            if found is not None and found.share <= KINK:
                found = self._once_more(engine, i)
            if found is not None:
                return f"on client '{data.clients[job.client]}', after {job.steps} steps, {found.what.rstrip('.')}"
        return None

    def _once_more(self, engine: Engine, index: int) -> Difference | None:
        """The same device from another place: a number that lay at a kink there, does not here."""
        spec = self.rehearsal.task.spec
        start = moved(self.jobs[index].start, spec.trainable, NOISE, np.random.default_rng(2))
        job = replace(self.jobs[index], start=start)
        ours, theirs = self.reference.train([job])[0], engine.train([job])[0]
        return Pair(spec, job, ours, theirs, lambda: (job, ours)).difference()

    def _shake(self) -> list[tuple[ClientJob, Trained]]:
        """The reference's results from starts that are changed by rounding."""
        if not self._shaken:
            spec, rng = self.rehearsal.task.spec, np.random.default_rng(1)
            share = 4.0 * float(np.finfo(spec.dtype).eps)
            starts = [moved(job.start, spec.trainable, share, rng) for job in self.jobs]
            jobs = [replace(job, start=start) for job, start in zip(self.jobs, starts, strict=True)]
            self._shaken = list(zip(jobs, self.reference.train(jobs), strict=True))
        return self._shaken


def _factor(results: Sequence[tuple[ClientJob, Trained]], head: int) -> float:
    """By how much the learning rate should be larger."""
    part = slice(head)
    size = max(norm(job.start[part]) for job, _ in results) + TYPICAL * head**0.5
    share = max(norm(movement(job, trained, part)) for job, trained in results) / size
    return 1.0 if share == 0.0 or SLOW <= share <= FAST else AIM / share

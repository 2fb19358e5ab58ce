"""No engine is used on trust: before one is taken, its numbers are compared with the reference's.

For this model, loss, method and local training, on real examples: batches that are full, ragged and smaller than a
batch, several devices at once, in two passes with other seeds, states and places to start from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from fogline.data.inputs import arrays_of
from fogline.training.choosing.reference_run import ReferenceRun, run_reference
from fogline.training.choosing.rehearsal import Rehearsal, rehearse
from fogline.training.hook_calls import watched
from fogline.training.local import ClientJob, LocalTraining
from fogline.training.method import LocalMethod
from fogline.training.task import Engine, Task

_VERDICTS: dict[str, str | None] = {}
"""What comparisons of this process came to, by key."""


@dataclass
class EngineCheck:
    """Compares engines for one job with the reference, whose results it keeps.

    Args:
        task: model and data.
        method: adjusts local steps.
        local: local training.
        jobs: devices of a cohort, after ``method.prepare``; of several phases, where the method trains in such.
    """

    task: Task
    method: LocalMethod
    local: LocalTraining
    jobs: Sequence[ClientJob]
    known: str = ""
    """Key of a comparison that an earlier process made, with success."""

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
        if code is None or not self._rehearsals:
            return ""
        digest = hashlib.blake2b(f"{code} {self.local!r} {self.task.spec.digest}".encode(), digest_size=16)
        for twin, job in ((rehearsal.task, job) for rehearsal in self._rehearsals for job in rehearsal.jobs):
            vectors = {"start": job.start, "counters": job.counters, **job.local, **job.received}
            trains = None if job.only is None else sorted(job.only)
            digest.update(repr((job.steps, job.learning_rate, job.seed, trains, list(vectors))).encode())
            examples = twin.data.at(job.client)
            for array in (*vectors.values(), *arrays_of(examples.x), examples.y):
                digest.update(f"{array.shape} {array.dtype.str}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def _rehearsals(self) -> list[Rehearsal]:
        """One for each kind of phase: what trains, and what state the hooks of a step see."""
        kinds: dict[object, list[ClientJob]] = {}
        for job in self.jobs:
            kinds.setdefault((job.only, tuple(job.local)), []).append(job)
        rehearsals = (rehearse(self.task, self.local, alike) for alike in kinds.values())
        return [rehearsal for rehearsal in rehearsals if rehearsal is not None]

    def _is_reference(self, engine: str) -> bool:
        return engine == next(iter(self.task.engines()))

    def _compare(self, engine: str) -> str | None:
        reference = next(iter(self.task.engines()))
        with self.task.exact_arithmetic():
            if not self._reference_runs:
                return f"it could not be compared with '{reference}': no device has examples."
            for run in self._reference_runs:
                if isinstance(run, str):
                    return f"it could not be compared with '{reference}': {run}"
                difference = run.difference(self._build(engine, run.rehearsal))
                if difference is not None:
                    words = "for this model, loss and method"
                    return f"it gives other numbers than '{reference}' {words}: {difference}."
        return None

    @cached_property
    def _reference_runs(self) -> list[ReferenceRun | str]:
        reference = next(iter(self.task.engines()))
        return [run_reference(rehearsal, partial(self._build, reference, rehearsal)) for rehearsal in self._rehearsals]

    def _build(self, engine: str, rehearsal: Rehearsal) -> Engine:
        local, privacy = self.local, self.local.privacy
        if privacy is not None:  # Loud noise would hide what is wrong with the gradients below it.
            local = local.model_copy(update={"privacy": privacy.quiet(self.task.spec.trainable)})
        return self.task.engines()[engine](rehearsal.task, watched(self.method, self.task.home), local)

"""No engine is used on trust: before one is taken, its numbers are compared with the reference's.

For this model, loss, method and local training, on real examples: batches that are full, ragged and smaller than a
batch, several devices at once, in two passes with other seeds, states and places to start from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fogline.data.inputs import arrays_of
from fogline.training.hook_calls import watched
from fogline.training.local import ClientJob, LocalTraining
from fogline.training.method import LocalMethod
from fogline.training.reference_run import ReferenceRun, run_reference
from fogline.training.rehearsal import Rehearsal, rehearse
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
        jobs: devices of a cohort, after ``method.prepare``.
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
        if code is None or self._rehearsal is None:
            return ""
        digest = hashlib.blake2b(f"{code} {self.local!r} {self.task.spec.digest}".encode(), digest_size=16)
        for job in self._rehearsal.jobs:
            vectors = {"start": job.start, "counters": job.counters, **job.local, **job.received}
            digest.update(repr((job.steps, job.learning_rate, job.seed, list(vectors))).encode())
            examples = self._rehearsal.task.data.at(job.client)
            for array in (*vectors.values(), *arrays_of(examples.x), examples.y):
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
            reference_run = self._reference_run
            if isinstance(reference_run, str):
                return f"it could not be compared with '{reference}': {reference_run}"
            difference = reference_run.difference(self._build(engine))
        if difference is None:
            return None
        return f"it gives other numbers than '{reference}' for this model, loss and method: {difference}."

    @cached_property
    def _reference_run(self) -> ReferenceRun | str:
        if self._rehearsal is None:
            return "no device has examples."
        return run_reference(self._rehearsal, lambda: self._build(next(iter(self.task.engines()))))

    def _build(self, engine: str) -> Engine:
        assert self._rehearsal is not None
        local, privacy = self.local, self.local.privacy
        if privacy is not None:  # Loud noise would hide what is wrong with the gradients below it.
            local = local.model_copy(update={"privacy": privacy.quiet(self.task.spec.trainable)})
        return self.task.engines()[engine](self._rehearsal.task, watched(self.method, self.task.home), local)

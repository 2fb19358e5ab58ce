"""Local training in phases: what a method yields, as jobs of an engine, for all devices of a cohort side by side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from fogline.algorithms import hooks
from fogline.algorithms.base import Algorithm
from fogline.algorithms.private import with_weights
from fogline.params import Counters, Params, State, Vector
from fogline.randomness import derived
from fogline.training.context import DeviceContext, Draws
from fogline.training.hook_calls import wrong
from fogline.training.local import ClientJob, LocalResult
from fogline.training.phase import TrainingPhase
from fogline.training.task import Engine, Task
from fogline.user_code.bugs import CodeError, attempt, reason_of


def train_in_phases(
    engine: Engine,
    algorithm: Algorithm,
    task: Task,
    jobs: Sequence[ClientJob],
    draws: Sequence[Draws | None],
    hook: str = "phases",
) -> list[tuple[LocalResult, State]]:
    """Train devices phase by phase, in the order of ``jobs``.

    Args:
        engine: trains each phase of all devices that have one.
        algorithm: the method.
        task: model and data.
        jobs: as the method prepared them, for the whole model.
        draws: random numbers of each, where an earlier hook of the round has begun with them.
        hook: ``phases``, or ``fine_tune``.

    Returns:
        What the last phase gave, with the steps of all, and what the device keeps.

    Raises:
        CodeError: a hook of the method, or the code of the task, is wrong; it names the device.
    """
    devices = [_Device(algorithm, task, job, own, hook) for job, own in zip(jobs, draws, strict=True)]
    while asked := [(device, job) for device in devices if (job := device.next()) is not None]:
        try:
            done = engine.train([job for _, job in asked])
        except CodeError as error:
            error.at(names_of(task, [job for _, job in asked]))
            raise
        for (device, _), trained in zip(asked, done, strict=True):
            device.take(trained)
    return [device.result for device in devices]


def first_of_each_kind(algorithm: Algorithm, task: Task, job: ClientJob) -> list[ClientJob]:
    """A device's phases that differ in what trains or in the state that steps see, each as if those before had left
    the model as it was.

    Raises:
        CodeError: the hook is wrong.
    """
    device, found = _Device(algorithm, task, job, None, "phases"), dict[object, ClientJob]()
    while (phase := device.next()) is not None:
        found.setdefault((phase.only, tuple(phase.local)), phase)
        device.take(LocalResult(job.client, phase.start, phase.counters, 1, phase.steps, 0.0, 0.0))
    return list(found.values()) or [job]


def names_of(task: Task, jobs: Sequence[ClientJob]) -> str:
    """Who it was, to stand before a sentence."""
    names = [f"'{task.data.clients[job.client]}'" for job in jobs[:3]]
    if len(jobs) == 1:
        return f"Client {names[0]}"
    more = f" and {len(jobs) - len(names)} more" if len(jobs) > len(names) else ""
    return f"One of the clients {', '.join(names)}{more}"


class _Device:
    """One device's phases under way."""

    def __init__(self, algorithm: Algorithm, task: Task, job: ClientJob, draws: Draws | None, hook: str) -> None:
        self._algorithm, self._task, self._job, self._hook = algorithm, task, job, hook
        self._context = DeviceContext(task, job, draws)
        self._last: LocalResult | None = None
        self._kept, self._over = job.local, False
        self._made = self._steps = 0
        self._under_way = hooks.phases(algorithm, hook, self._context)

    def next(self) -> ClientJob | None:
        """Its next phase as an engine takes it; None where it has none."""
        if self._over:
            return None
        last, context = self._last, self._context
        end = None if last is None else self._shared(last.end)
        given = attempt(lambda: hooks.next_phase(self._algorithm, self._hook, self._under_way, end, context))
        if isinstance(given, TrainingPhase):
            given = attempt(lambda phase=given: self._job_of(phase))
        if isinstance(given, ClientJob):
            self._made += 1
            return given
        self._over = True
        if isinstance(given, Exception):
            self._fail(reason_of(given, names_of(self._task, [self._job])))
        else:
            self._kept = given
        return None

    def take(self, trained: LocalResult) -> None:
        """What an engine gave for its phase."""
        self._steps += trained.steps
        self._last, self._over = trained, trained.failure is not None

    @property
    def result(self) -> tuple[LocalResult, State]:
        """What came of it."""
        if self._last is None:
            raise wrong(self._algorithm, self._hook, "yields no phase, so that nothing trains")
        assert self._last is not None
        return replace(self._last, steps=self._steps), self._kept

    def _fail(self, why: str) -> None:
        job = self._job
        self._last = LocalResult(job.client, job.start, job.counters, 0, 0, np.nan, np.nan, why)

    def _shared(self, whole: Vector) -> Vector:
        trained = whole[: self._task.spec.trainable]
        return trained if self._task.home is None else self._task.home.part.trained.cut(trained)

    def _job_of(self, phase: TrainingPhase) -> ClientJob:
        job, (start, counters) = self._job, self._begun(phase)
        return replace(
            job,
            start=start,
            counters=counters,
            steps=phase.steps or job.steps,
            learning_rate=phase.learning_rate or job.learning_rate,
            seed=derived(job.seed, self._made) if self._made else job.seed,
            local=job.local if phase.local is None else phase.local,
            model=job.start if job.model is None else job.model,
            only=None if phase.only is None else self._named(phase.only),
        )

    def _named(self, only: Collection[str]) -> frozenset[str]:
        spec = self._task.spec
        try:
            named = spec.matching(only)
        except ValueError as error:
            raise wrong(self._algorithm, self._hook, f"gives a phase of which {error}") from error
        trains = frozenset(named).intersection(spec.trained_names)
        if not trains:
            raise wrong(self._algorithm, self._hook, "gives a phase in which nothing trains")
        return trains

    def _begun(self, phase: TrainingPhase) -> tuple[Vector, Counters]:
        """Where a phase begins: a whole model (floats,), and its counters."""
        job, home, last = self._job, self._task.home, self._last
        base, counters = (job.start, job.counters) if last is None else (last.end, last.counters)
        if phase.start is None:
            return base, counters
        if last is not None:
            base, counters = job.start, job.counters
            if home is not None:
                received = Params(self._task.shared, home.cut(job.start), home.cut_counters(job.counters))
                whole = home.whole(received, home.kept(last))
                base, counters = whole.vector, whole.counters
        return with_weights(self._task, base, phase.start), counters

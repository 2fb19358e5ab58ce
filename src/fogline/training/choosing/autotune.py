"""Which engine, and how many devices at once: measured on the first cohort.

In processor time where the processor trains, so that a busy machine does not decide; the budget is one of real time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fogline.training.choosing.affinity import broken_claim
from fogline.training.choosing.engine_check import EngineCheck
from fogline.training.local import ClientJob, LocalTraining
from fogline.training.method import LocalMethod
from fogline.training.task import Engine, Task

BUDGET = 1.0
"""Seconds for all measurements together, but for the first steps of each candidate."""
STEPS = 6
"""Steps that a device makes in a trial: enough that what is paid once per device does not decide."""
TRIALS = 16
"""As many at most: the least of them counts, and short ones are easily disturbed."""
CHUNK_SECONDS = 0.02
"""Where the chunk does not change the work, one that takes about so long: rarer hand-overs, even loads."""
LARGEST_CHUNK = 8
STACKS = (5, 20)
"""Devices together that are worth trying, beside all of a worker's: few for the cache's sake, more for small models."""
HANDICAP = 1.1
"""How much faster devices must train together, or more of them, to be taken: it costs memory, and a worker's results
come all at once."""


HANDOVER = 1e-3
"""Seconds, about, that it takes to tell workers of their parts, wake them, and take the results back: more where others
keep the cores busy."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How cohorts are trained. Write it into the job: a run repeats to the bit only with the same choice."""

    engine: str
    chunk: int
    """Devices that an engine trains in one call."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What was measured, per device and step, by ``engine/chunk``."""
    refused: dict[str, str] = field(default_factory=dict)
    """Engines that cannot run the job, or give other numbers than the reference, and why."""
    compared: str = ""
    """Digest of what the engine was compared for: see ``Trust.key``."""


@dataclass(slots=True)
class _Trial:
    name: str
    engine: Engine
    chunk: int
    seconds: float
    failures: int


def autotune(
    task: Task,
    method: LocalMethod,
    local: LocalTraining,
    jobs: Sequence[ClientJob],
    *,
    later: Sequence[ClientJob] = (),
    engine: str | None = None,
    chunk: int | None = None,
    processes: int = 1,
    budget: float = BUDGET,
    compared: str = "",
) -> Choice:
    """Time every engine on a few steps of real jobs, in this process, and take the fastest.

    The reference is a candidate only if no other engine takes the job. Measure where the backend uses as
    many threads as it will later: inside ``task.one_thread()``.

    Args:
        jobs: a cohort, after ``method.prepare``; none of it changes.
        later: of other phases of these devices, where their method trains in several: compared, and not measured.
        engine: take this one, and measure at most the chunk.
        chunk: take this many devices at once.
        processes: workers that a cohort is spread over: a chunk never leaves one idle.
        budget: seconds, roughly.
        compared: ``Choice.compared`` of an earlier run: where all is the same, the comparison is not made again.

    Raises:
        ValueError: no engine can run the job, or the one asked for cannot; the sentence says why.
    """
    if task.trains_itself:
        name = engine or next(iter(task.engines()))
        task.build(name, method, local)
        return Choice(name, chunk or 1)
    every = [*jobs, *later]
    claim = broken_claim(task, method, every)
    if claim is not None:
        raise ValueError(claim)
    trust = EngineCheck(task, method, local, every, compared)
    if engine is not None:
        task.build(engine, method, local)
        reason = trust.refuses(engine)
        if reason is not None:
            raise ValueError(f"Engine '{engine}' cannot run this job: {reason}")
        if chunk is not None:
            return Choice(engine, chunk, compared=trust.key(engine))
    names, refused = _candidates(task, method, local, engine)
    deadline, seconds = time.perf_counter() + budget, dict[str, float]()
    while True:
        trials = [
            _measure(task, name, built, size, jobs, deadline)
            for name in names
            for built in [task.build(name, method, local)]
            for size in ([chunk] if chunk else _chunks(built, len(jobs), processes))
        ]
        seconds |= {f"{t.name}/{t.chunk}": t.seconds for t in trials}
        best = _trusted(trials, trust, refused)
        if best is not None:
            break
        names, deadline = [next(iter(task.engines()))], time.perf_counter() + budget
    steps = sum(job.steps for job in jobs) / len(jobs)
    even = _even_chunk(best.seconds * steps, len(jobs), processes)
    size = best.chunk if chunk or best.engine.together else even
    if not chunk and _sooner_alone(task, best, jobs, processes, time.perf_counter() + budget):
        size = len(jobs)
    return Choice(best.name, size, seconds, refused, trust.key(best.name))


def _trusted(trials: Sequence[_Trial], trust: EngineCheck, refused: dict[str, str]) -> _Trial | None:
    """The best of those engines that give what the reference gives; ``refused`` takes down why others do not."""
    while left := [trial for trial in trials if trial.name not in refused]:
        fewest = min(trial.failures for trial in left)
        best = _best([trial for trial in left if trial.failures == fewest])
        reason = trust.refuses(best.name)
        if reason is None:
            return best
        refused[best.name] = reason
    return None


def _best(trials: Sequence[_Trial]) -> _Trial:
    """The fastest; the smaller of two chunks where it is about as fast."""
    best, *others = sorted(trials, key=lambda trial: trial.chunk if trial.engine.together else 0)
    for trial in others:
        handicap = HANDICAP if trial.chunk > best.chunk else 1.0
        best = trial if trial.seconds * handicap < best.seconds else best
    return best


def _candidates(
    task: Task, method: LocalMethod, local: LocalTraining, engine: str | None
) -> tuple[list[str], dict[str, str]]:
    if engine is not None:
        return [engine], {}
    refused: dict[str, str] = {}
    names: list[str] = []
    for name, kind in task.engines().items():
        reason = kind.refusal(task, method, local)
        if reason is None:
            names.append(name)
        else:
            refused[name] = reason
    reference = next(iter(task.engines()))
    if reference in refused:  # Then there is nothing to compare others with.
        alike = len({*refused.values()}) == 1
        why = refused[reference] if alike else " ".join(f"{name}: {why}" for name, why in refused.items())
        raise ValueError(f"No engine can run this job: {why}")
    return [name for name in names if name != reference] or names, refused


def _chunks(engine: Engine, jobs: int, processes: int) -> list[int]:
    """Sizes worth trying, that cut a worker's share evenly."""
    share = max(1, -(-jobs // max(1, processes)))
    if not engine.together:
        return [min(share, 2)]
    return sorted({-(-share // -(-share // size)) for size in (*STACKS, share)})


def _even_chunk(seconds: float, jobs: int, processes: int) -> int:
    share = max(1, -(-jobs // max(1, processes)))
    return max(1, min(round(CHUNK_SECONDS / max(seconds, 1e-6)), LARGEST_CHUNK, share))


def _sooner_alone(task: Task, best: _Trial, jobs: Sequence[ClientJob], processes: int, deadline: float) -> bool:
    """Whether one process trains all devices together sooner than workers, told of it, their shares."""
    share, steps = -(-len(jobs) // processes), max(job.steps for job in jobs)
    shared = best.seconds * steps * share + HANDOVER
    if not best.engine.together or share == len(jobs) or shared > 10 * HANDOVER:
        return False
    alone = best if best.chunk >= len(jobs) else _measure(task, best.name, best.engine, len(jobs), jobs, deadline)
    return alone.seconds * steps * len(jobs) < shared


def _measure(task: Task, name: str, engine: Engine, chunk: int, jobs: Sequence[ClientJob], deadline: float) -> _Trial:
    """Seconds per device and step: the least of some trials, after one of a single step that warms up.

    A slow candidate is tried on fewer steps, where what is paid once per device matters less anyway.
    """
    size = min(chunk, len(jobs))
    start = time.perf_counter()
    clock = time.process_time if task.on_processor else time.perf_counter
    first = engine.train([replace(job, steps=1) for job in jobs[:size]])
    share = (deadline - start) / 6
    steps = min(STEPS, max(1, int(share / (time.perf_counter() - start))))
    short = [replace(job, steps=min(job.steps, steps)) for job in jobs]
    seconds, until = float("inf"), time.perf_counter() + 2 * share
    for i in range(TRIALS):
        if i > 0 and time.perf_counter() > until:
            break
        at = (i * size) % max(1, len(short) - size + 1)
        part = short[at : at + size]
        start = clock()
        engine.train(part)
        seconds = min(seconds, (clock() - start) / sum(job.steps for job in part))
    return _Trial(name, engine, chunk, seconds, sum(trained.failure is not None for trained in first))

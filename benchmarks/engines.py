"""Whether a fast engine is ever different: modules made at random, every engine against the reference.

Every module (see ``engines_grammar``) is offered to every engine as a run would offer it. An engine that takes it then
trains two rounds of it, on other seeds than it was compared on, and so does ``loop``; where they lie apart by more
than rounding (or by more than ``loop`` from itself, from a start that was changed by rounding), it counts as
differing, and the module is printed.

Run: python -m benchmarks.engines [--modules 2000] [--seed 0] [--processes 2] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import console, median, report
from benchmarks.engines_grammar import Case, case
from fogline.algorithms.device import prepare
from fogline.training import ClientJob, LocalResult, LocalTraining, autotune

ENGINES = ("flat", "stacked")
ROUNDS = 2
TOLERANCE = 2e-3
"""How far apart a device's movements may lie, as a share of them."""
ROUNDING, AMPLIFIED = 1e-6, 100.0


def main() -> None:
    """Hold engines to modules, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="100 modules; nothing is saved")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + (100 if options.quick else options.modules))
    if options.processes <= 1:
        counts, seconds = counted(seeds)
    else:
        counts, seconds = _spread(seeds, options.processes)
    result = {"modules": len(seeds), **counts, "compared_seconds": round(median(seconds), 4)}
    report("engines", result, keep=not options.quick and options.processes > 1)


def counted(seeds: Sequence[int]) -> tuple[dict[str, int], list[float]]:
    """What became of the modules, by engine; seconds that each comparison took."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    counts: Counter[str] = Counter({"differing": 0})
    seconds: list[float] = []
    for seed in seeds:
        one = case(seed)
        counts["ordinary"] += one.ordinary
        for engine in ENGINES:
            start = time.perf_counter()
            refusal = refusal_of(one, engine)
            seconds.append(time.perf_counter() - start)
            if refusal is None:
                counts[f"{engine}_taken"] += 1
                counts[f"{engine}_taken_ordinary"] += one.ordinary
                apart = difference(one, engine)
                if apart is not None:
                    counts["differing"] += 1
                    console.print(f"[red]{engine} differs[/] by {apart}: {one.text}", markup=True)
            else:
                counts[f"{engine}_{'unlike' if 'other numbers' in refusal else 'refused'}"] += 1
                if one.ordinary:
                    console.print(f"{engine} refuses an ordinary module ({refusal}) {one.text}", markup=False)
    return dict(counts), seconds


def _spread(seeds: range, processes: int) -> tuple[dict[str, int], list[float]]:
    """The same in processes of their own, of which each does its share."""
    bounds = np.linspace(seeds.start, seeds.stop, processes + 1).astype(int).tolist()
    command = [sys.executable, "-m", "benchmarks.engines", "--processes", "1"]
    children = [
        subprocess.Popen(
            [*command, "--seed", str(low), "--modules", str(high - low)], stdout=subprocess.PIPE, text=True
        )
        for low, high in pairwise(bounds)
    ]
    counts: Counter[str] = Counter()
    seconds: list[float] = []
    for child in children:
        out, _ = child.communicate()
        if child.returncode:
            raise SystemExit(f"A part of the modules was not held: status {child.returncode}.")
        part = json.loads(out.splitlines()[-1])
        seconds.append(part.pop("compared_seconds"))
        counts.update(part)
    del counts["modules"]
    return dict(counts), seconds


def jobs_of(
    one: Case, round_index: int, vector: npt.NDArray[np.floating], counters: npt.NDArray[np.int64]
) -> list[ClientJob]:
    """A job of each device, with states that differ."""
    local, head, jobs = _local(one), one.task.spec.trainable, list[ClientJob]()
    for client, size in enumerate(one.task.data.sizes().tolist()):
        plain = ClientJob(
            client, vector, counters, local.step_count(size), local.learning_rate, 31 * client + 7 + round_index
        )
        job = prepare(one.method, one.task, plain)
        rng = np.random.default_rng((client, round_index))
        state = {
            name: v + (0.02 * round_index * rng.random(v.shape)).astype(v.dtype) if v.size == head else v
            for name, v in job.local.items()
        }
        jobs.append(replace(job, local=state))
    return jobs


def refusal_of(one: Case, engine: str) -> str | None:
    """Why a run would not take an engine; None if it would."""
    start = one.task.initial(0)
    try:
        autotune(
            one.task, one.method, _local(one), jobs_of(one, 0, start.vector, start.counters), engine=engine, chunk=5
        )
    except ValueError as error:
        return str(error)
    return None


def difference(one: Case, engine: str) -> float | None:
    """How far an engine lies from the reference over some rounds, if that is more than rounding."""
    loop, other = (one.task.build(name, one.method, _local(one)) for name in ("loop", engine))
    start = one.task.initial(1)
    vector, counters = start.vector, start.counters
    for round_index in range(1, ROUNDS + 1):
        jobs = jobs_of(one, round_index, vector, counters)
        ours, theirs = loop.train(jobs), other.train(jobs)
        apart = max(_apart(jobs, ours, theirs), default=0.0)
        if apart > TOLERANCE and apart > AMPLIFIED * _unsteady(one, jobs, ours):
            return apart
        whole = [trained for trained in ours if trained.failure is None]
        if not whole:
            return None
        vector = np.mean([trained.end for trained in whole], axis=0).astype(vector.dtype)
        counters = np.max([trained.counters for trained in whole], axis=0)
    return None


def _apart(jobs: Sequence[ClientJob], ours: Sequence[LocalResult], theirs: Sequence[LocalResult]) -> Iterator[float]:
    for job, one, other in zip(jobs, ours, theirs, strict=True):
        if (one.failure is None) != (other.failure is None):
            yield float("inf")
        elif one.failure is None:
            same = one.steps == other.steps and one.samples == other.samples
            yield 0.0 if same and np.array_equal(one.counters, other.counters) else float("inf")
            yield abs(one.loss - other.loss) / max(one.loss_rms, 1e-2)
            moved = float(np.linalg.norm(one.end - job.start))
            yield float(np.linalg.norm(one.end - other.end)) / max(moved, 1e-6)


def _unsteady(one: Case, jobs: Sequence[ClientJob], ours: Sequence[LocalResult]) -> float:
    """How far the reference lies from itself where its start is changed by rounding."""
    rng, head = np.random.default_rng(0), one.task.spec.trainable
    noise = np.zeros(len(jobs[0].start), jobs[0].start.dtype)
    noise[:head] = ROUNDING * rng.normal(size=head)
    moved = one.task.build("loop", one.method, _local(one)).train(
        [replace(job, start=job.start + noise) for job in jobs]
    )
    shifted = [replace(t, end=t.end - noise) if t.failure is None else t for t in moved]
    return max(_apart(jobs, ours, shifted), default=0.0)


def _local(one: Case) -> LocalTraining:
    return one.local.model_copy(update={"smallest_batch": one.task.smallest_batch})


if __name__ == "__main__":
    main()

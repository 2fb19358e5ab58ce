"""What passes between a simulation and its workers, and when it is left out."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import fogline
from fogline import Job, JobError, Tier, Tree
from fogline.algorithms import FedAvg, FedProx
from fogline.algorithms.device import LocalRound
from fogline.monitoring.progress import Silent
from fogline.simulation.executors import EXECUTORS, Bench, Executor, executor_for, useful_processes
from fogline.simulation.executors.inline import InlineExecutor
from fogline.simulation.executors.shared_memory import ALIGNMENT, Arena
from fogline.training import ClientJob, Engine, LocalTraining
from tests.toy import ToyTask, toy_data

LOCAL = LocalTraining(learning_rate=0.1, batch_size=5)


def executor(bench: Bench, processes: int) -> Executor:
    """Workers, or this process where there are to be none."""
    return EXECUTORS["processes" if processes else "inline"](bench, processes)


class Here:
    """An executor over the toy task; counts the engines that were made in this process."""

    def __init__(self, chunk: int, processes: int) -> None:
        self.task = ToyTask()
        self.made_here = 0
        self.executor = executor(Bench(self.task, FedAvg(), self._make, chunk), processes)

    def _make(self) -> Engine:
        self.made_here += 1
        return self.task.build("loop", FedAvg(), LOCAL)

    def deltas(self, devices: int) -> list[bytes]:
        start = self.task.initial(0)
        jobs = [ClientJob(i, start.vector, start.counters, 3, 0.1, i) for i in range(devices)]
        done = self.executor.run(jobs)
        return [b"" if one.update is None else one.update.vectors["delta"].tobytes() for one in done]


@pytest.mark.parametrize(("chunk", "here"), [(4, 0), (8, 1)], ids=["two chunks", "one chunk"])
def test_one_chunk_is_trained_without_workers(chunk: int, here: int) -> None:
    alone, shared = Here(chunk, 0), Here(chunk, 2)
    with shared.executor:
        assert shared.deltas(8) == alone.deltas(8)
        assert shared.made_here == here


def test_what_lies_in_an_arena_is_not_copied_into_it() -> None:
    arena = Arena(1 << 16)
    room = arena.take(5, np.float32)
    room[:] = range(5)
    second = arena.take(3, np.float64)
    second[:] = 7
    assert room.ctypes.data % ALIGNMENT == second.ctypes.data % ALIGNMENT == 0
    before = arena.take(1, np.int8).ctypes.data
    for part in (room, room[1:4], second, second[2:]):
        again = arena.get(arena.put(part))
        assert again.ctypes.data == part.ctypes.data
        np.testing.assert_array_equal(again, part)
    assert arena.take(1, np.int8).ctypes.data == before + ALIGNMENT
    strange = np.arange(4.0)
    kept = arena.get(arena.put(strange))
    assert kept.ctypes.data != strange.ctypes.data
    np.testing.assert_array_equal(kept, strange)
    with pytest.raises(MemoryError, match="chunk"):
        arena.take(1 << 16, np.float32)


def test_a_worker_hands_back_what_this_process_would_have() -> None:
    start = (task := ToyTask()).initial(0)
    jobs = [ClientJob(i, start.vector, start.counters, 2, 0.1, i) for i in range(6)]
    for algorithm in (FedAvg(), FedProx(mu=0.5)):
        results: list[list[tuple[object, ...]]] = []
        for processes in (0, 1):
            bench = Bench(task, algorithm, lambda a=algorithm: task.build("loop", a, LOCAL), 3)
            with executor(bench, processes) as trainer:
                results.append(
                    [
                        (
                            one.client,
                            {n: v.tobytes() for n, v in one.update.vectors.items()} if one.update else None,
                            dict(one.update.weights) if one.update else None,
                            dict(one.update.bounds) if one.update else None,
                            one.loss,
                        )
                        for one in trainer.run(jobs)
                    ]
                )
        assert results[0] == results[1]


class OnGpu(ToyTask):
    """A task that trains on a GPU."""

    forkable = False  # type: ignore[assignment]
    on_processor = False


@pytest.mark.parametrize(
    ("settings", "task", "chosen"),
    [
        ({}, ToyTask, ("processes", len(os.sched_getaffinity(0)))),
        ({"processes": 3}, ToyTask, ("processes", 3)),
        ({"processes": 0}, ToyTask, ("inline", 0)),
        ({"executor": "Inline"}, ToyTask, ("inline", 0)),
        ({"executor": "processes", "processes": 2}, ToyTask, ("processes", 2)),
        ({}, OnGpu, ("inline", 0)),
        ({"processes": 0}, OnGpu, ("inline", 0)),
    ],
)
def test_a_job_gets_the_executor_that_suits_it(
    settings: dict[str, Any], task: type[ToyTask], chosen: tuple[str, int]
) -> None:
    kind, processes = executor_for(Job(**settings), task())
    assert (EXECUTORS.name_of(kind), processes) == chosen


@pytest.mark.parametrize(
    ("settings", "task", "words"),
    [
        ({"executor": "inline", "processes": 2}, ToyTask, "processes is 2, but the executor 'inline' uses none."),
        ({"executor": "processes", "processes": 0}, ToyTask, "'processes' uses 1 at least."),
        ({"executor": "proceses"}, ToyTask, "executor: There is no executor 'proceses'; did you mean 'processes'?"),
        ({"processes": 2}, OnGpu, "A GPU trains for all devices in the main process: leave processes out"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(settings: dict[str, Any], task: type[ToyTask], words: str) -> None:
    with pytest.raises(JobError, match=re.escape(words)):
        executor_for(Job(**settings), task())


class Started(Silent):
    """Keeps how many workers there are, and what is said."""

    def __init__(self) -> None:
        self.processes = -1
        self.notes: list[str] = []

    def engine(self, name: str, chunk: int, processes: int) -> None:
        self.processes = processes

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(("cohort", "chunk", "pieces"), [(None, 1, 8), (5, 1, 5), (None, 4, 2), (None, 100, 1)])
def test_more_workers_than_can_be_busy_are_not_started(cohort: int | None, chunk: int, pieces: int) -> None:
    cores = len(os.sched_getaffinity(0))
    useful = min(max(pieces, cores), 4 * cores)
    seen, tree = Started(), Tree(cloud=Tier() if cohort is None else Tier(cohort=cohort))
    settings = {"processes": 1000, "engine": "loop", "chunk": chunk}
    fogline.simulate(ToyTask(toy_data(8)), tree=tree, rounds=1, progress=seen, **settings)
    assert seen.processes == useful
    assert seen.notes == [f"processes is 1000, but no more than {useful} would be of use; so many are started."]


def test_a_large_cohort_does_not_start_hundreds_of_workers() -> None:
    kind = EXECUTORS["processes"]
    assert useful_processes(kind, 1000, 500) == 4 * len(os.sched_getaffinity(0))
    assert useful_processes(kind, 2, 500) == 2


def test_one_added_by_a_program_trains_a_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the registry knows which executors there are."""

    class Backwards(InlineExecutor):
        """Trains the chunks from the last to the first."""

        def run(self, jobs: Sequence[ClientJob]) -> Iterator[LocalRound]:
            done = [list(super(Backwards, self).run(chunk)) for chunk in reversed(self.bench.chunks(jobs))]
            return itertools.chain.from_iterable(reversed(done))

    list(EXECUTORS)  # The package's own are there before.
    monkeypatch.setattr(EXECUTORS, "_plugins", dict(EXECUTORS._plugins))
    EXECUTORS.add("backwards")(Backwards)
    models = [
        fogline.simulate(ToyTask(), rounds=3, chunk=3, progress=False, executor=name, baselines="alone")
        for name in ("backwards", "processes")
    ]
    assert np.array_equal(models[0].params.vector, models[1].params.vector)
    assert models[0].baselines == models[1].baselines
    assert models[0].job.executor == "backwards"

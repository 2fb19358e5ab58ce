"""What passes between a simulation and its workers, and when it is left out."""

from __future__ import annotations

import numpy as np
import pytest

from fogline.algorithms import FedAvg, FedProx
from fogline.simulation.executors import EXECUTORS, Bench, Executor
from fogline.simulation.executors.shared_memory import ALIGNMENT, Arena
from fogline.training import ClientJob, Engine, LocalTraining
from tests.toy import ToyTask

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

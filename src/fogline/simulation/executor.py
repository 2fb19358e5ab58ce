"""Runs cohorts of local training: in this process, or in one forked worker per core.

Results come back in the order of the jobs, chunk by chunk, whatever the number of workers: how jobs are cut
into chunks depends on the engine's choice only, so the number of workers does not change a bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait

from fogline.algorithms import Algorithm
from fogline.algorithms.device import LocalRound, run_cohort
from fogline.params import Params
from fogline.simulation.shared_memory import Arena
from fogline.simulation.worker import (
    Answer,
    Bench,
    EvaluateRequest,
    EvaluationPart,
    EvaluationSums,
    Rounds,
    SentJob,
    SentModel,
    SimulationWorker,
    TrainRequest,
    evaluate_part,
    expect,
    unpack,
)
from fogline.training.local import ClientJob
from fogline.training.task import Engine, Task

INPUT_BYTES = 8 << 30
OUTPUT_BYTES = 2 << 30
"""Address space of the shared arenas; memory is taken only by what is written."""
TEST_PART = 2048
"""Examples of the test set that are judged at once."""


class Executor:
    """Trains and evaluates for the simulator.

    Args:
        task: what is learned.
        algorithm: adjusts local steps and forms updates.
        build: makes the engine; called once in every worker.
        chunk: devices that an engine trains together.
        processes: worker processes; 0 trains in this process.
    """

    def __init__(
        self, task: Task, algorithm: Algorithm, build: Callable[[], Engine], chunk: int, processes: int
    ) -> None:
        self.task = task
        self.algorithm = algorithm
        self.chunk = chunk
        self._build = build
        self._engine: Engine | None = None
        self._workers: list[SimulationWorker] = []
        self._inputs: Arena | None = None
        if processes > 0:
            if not hasattr(os, "fork"):
                raise ValueError("Worker processes need a system with fork; use processes=0 here.")
            self._inputs = Arena(INPUT_BYTES)
            for _ in range(processes):
                self._workers.append(self._fork())

    def _fork(self) -> SimulationWorker:
        assert self._inputs is not None
        outputs = (Arena(OUTPUT_BYTES), Arena(OUTPUT_BYTES))
        return SimulationWorker(Bench(self.task, self.algorithm, self._build, self._inputs, outputs), self._workers)

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def run(self, jobs: Sequence[ClientJob]) -> Iterator[LocalRound]:
        """Train devices; results in the order of ``jobs``.

        A result's vectors may be overwritten once the next result is asked for: fold them, or copy them.

        Raises:
            CodeError: the developer's code is wrong; with workers, the first in the order of ``jobs``.
            RuntimeError: a worker process is gone.
        """
        chunks = [jobs[i : i + self.chunk] for i in range(0, len(jobs), self.chunk)]
        if self._workers and len(chunks) > 1:  # One alone is trained sooner than handed over and taken back.
            yield from self._run_in_workers(chunks)
            return
        for chunk in chunks:
            yield from run_cohort(self.engine, self.algorithm, self.task, chunk)

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        if self._engine is None:
            self._engine = self._build()
        return self._engine

    def _run_in_workers(self, chunks: list[Sequence[ClientJob]]) -> Iterator[LocalRound]:
        assert self._inputs is not None
        sender = _Sender(self._inputs)
        requests = [sender.request(chunk) for chunk in chunks]
        free = [(worker, arena) for arena in (0, 1) for worker in self._workers]
        free.reverse()
        asked: dict[int, list[tuple[int, int]]] = {worker.pid: [] for worker in self._workers}
        done: dict[int, tuple[SimulationWorker, int, Answer]] = {}
        next_request = 0
        for index, chunk in enumerate(chunks):
            while index not in done:
                while free and next_request < len(requests):
                    worker, arena = free.pop()
                    requests[next_request].arena = arena
                    worker.ask(requests[next_request])
                    asked[worker.pid].append((next_request, arena))
                    next_request += 1
                self._take(asked, done)
            worker, arena, answer = done.pop(index)
            for job, sent in zip(chunk, expect(Rounds, answer).rounds, strict=True):
                yield unpack(worker.bench.outputs[arena], job.client, sent)
            free.append((worker, arena))

    def _take(
        self, asked: dict[int, list[tuple[int, int]]], done: dict[int, tuple[SimulationWorker, int, Answer]]
    ) -> None:
        """Wait for at least one answer."""
        busy = [worker for worker in self._workers if asked[worker.pid]]
        ready = wait([worker.line for worker in busy])
        for worker in busy:
            if worker.line not in ready:
                continue
            index, arena = asked[worker.pid].pop(0)
            done[index] = (worker, arena, worker.take())

    def evaluate(self, params: Params, clients: Sequence[str | None]) -> list[EvaluationSums]:
        """Judge a model on each client's data, or on the test set where a client is None."""
        parts = [part for client in clients for part in self._parts_of(client)]
        results: dict[str | None, EvaluationSums] = {client: EvaluationSums({}) for client in clients}
        for part, judged in zip(parts, self._evaluate_parts(params, parts), strict=True):
            into = results[part.client]
            into.why = into.why or judged.why
            for name, value in judged.sums.items():
                into.sums[name] = into.sums.get(name, 0.0) + value
        return [results[client] for client in clients]

    def _parts_of(self, client: str | None) -> list[EvaluationPart]:
        test = self.task.data.test
        if client is not None or test is None:
            return [EvaluationPart(client, 0, 0)]
        count = len(test.y)
        return [EvaluationPart(None, start, min(start + TEST_PART, count)) for start in range(0, count, TEST_PART)]

    def _evaluate_parts(self, params: Params, parts: list[EvaluationPart]) -> list[EvaluationSums]:
        if self._inputs is None:
            return [evaluate_part(self.task, params, part) for part in parts]
        self._inputs.clear()
        model = SentModel(self._inputs.put(params.vector), self._inputs.put(params.counters), {})
        answers: list[EvaluationSums] = []
        for start in range(0, len(parts), len(self._workers)):
            batch = list(zip(self._workers, parts[start : start + len(self._workers)], strict=False))
            for worker, part in batch:
                worker.ask(EvaluateRequest(model, part))
            answers += [expect(EvaluationSums, worker.take()) for worker, _ in batch]
        return answers


class _Sender:
    """Writes a cohort's inputs into the shared arena, every model once."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._arena.clear()
        self._models: dict[tuple[int, ...], SentModel] = {}

    def request(self, jobs: Sequence[ClientJob]) -> TrainRequest:
        models: list[SentModel] = []
        places: dict[int, int] = {}
        sent: list[SentJob] = []
        for job in jobs:
            model = self._model(job)
            if id(model) not in places:
                places[id(model)] = len(models)
                models.append(model)
            local = {name: self._arena.put(vector) for name, vector in job.local.items()}
            sent.append(
                SentJob(
                    job.client,
                    places[id(model)],
                    job.steps,
                    job.learning_rate,
                    job.seed,
                    local,
                    job.round,
                    job.common_seed,
                    job.batch_size,
                )
            )
        return TrainRequest(models, sent, 0)

    def _model(self, job: ClientJob) -> SentModel:
        # By the vectors: jobs may each have a dictionary of their own for what all have received.
        key = (id(job.start), id(job.counters), *map(id, job.received.values()))
        if key not in self._models:
            received = {name: self._arena.put(vector) for name, vector in job.received.items()}
            self._models[key] = SentModel(self._arena.put(job.start), self._arena.put(job.counters), received)
        return self._models[key]

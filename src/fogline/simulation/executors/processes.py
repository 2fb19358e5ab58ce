"""Cohorts in one forked worker per core, which share memory with this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from typing import TypeVar

from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import Down
from fogline.compute.surveys.survey import Question
from fogline.params import Params, State, Vector
from fogline.simulation.executors.base import EXECUTORS, Bench, Executor
from fogline.simulation.executors.inline import InlineExecutor
from fogline.simulation.executors.judging import EvaluationPart, EvaluationSums
from fogline.simulation.executors.shared_memory import Arena, SharedArray
from fogline.simulation.executors.worker import (
    Answer,
    EvaluateRequest,
    Examined,
    ExamineRequest,
    Places,
    Rounds,
    SentJob,
    SentModel,
    SharedBench,
    SimulationWorker,
    TrainRequest,
    expect,
    unpack,
)
from fogline.training.local import ClientJob
from fogline.training.task import Sums, Task

A = TypeVar("A")
Kept = dict[str, Places]
MOST_AT_ONCE = 64
"""Devices that a worker asks for one request."""
INPUT_BYTES = 8 << 30
OUTPUT_BYTES = 2 << 30
"""Address space of the shared arenas; memory is taken only by what is written."""


@EXECUTORS.add("processes", "Forked worker processes of one thread each, with shared memory; one per core by default.")
class ProcessExecutor(Executor):
    """Trains in worker processes."""

    def __init__(self, bench: Bench, processes: int) -> None:
        super().__init__(bench, processes)
        self._here = InlineExecutor(bench, 0)
        self._workers: list[SimulationWorker] = []
        self._inputs = Arena(INPUT_BYTES)
        for _ in range(processes):
            outputs = (Arena(OUTPUT_BYTES), Arena(OUTPUT_BYTES))
            self._workers.append(SimulationWorker(SharedBench(bench, self._inputs, outputs), self._workers))

    @classmethod
    def refuses(cls, task: Task) -> str | None:
        """A GPU would be lost to a fork, and where there is no fork, there are no workers."""
        if not hasattr(os, "fork"):
            return "Worker processes need a system with fork; set processes=0 here."
        if task.forkable:
            return None
        if task.on_processor:
            return "This process has used a GPU, so no workers can be forked from it: set processes=0."
        return "A GPU trains for all devices in the main process: leave processes out, or set it to 0."

    @classmethod
    def processes_for(cls, wanted: int | None) -> int:
        """One at least; one per core, if not said otherwise."""
        return len(os.sched_getaffinity(0)) if wanted is None else max(1, wanted)

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def run(self, jobs: Sequence[ClientJob]) -> Iterator[LocalRound]:
        """Train in the workers, chunk by chunk; a single chunk here."""
        chunks = self.bench.chunks(jobs)
        # One alone is trained sooner than handed over and taken back.
        return self._run_in_workers(chunks) if len(chunks) > 1 else self._here.run(jobs)

    def _run_in_workers(self, chunks: list[Sequence[ClientJob]]) -> Iterator[LocalRound]:
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

    def judge(self, params: Params, parts: Sequence[EvaluationPart]) -> Sequence[EvaluationSums]:
        """Judge in the workers, each a part at a time."""
        self._inputs.clear()
        model = SentModel(self._inputs.put(params.vector), self._inputs.put(params.counters), {})
        return self._in_turn([EvaluateRequest(model, part) for part in parts], EvaluationSums)

    def examine(
        self, question: Question, down: Down, clients: Sequence[str], locals_: Mapping[str, State]
    ) -> list[tuple[Sums, str]]:
        """Ask in the workers, some devices at a time."""
        self._inputs.clear()
        put = self._inputs.put
        received = {name: put(vector) for name, vector in down.received.items()}
        model = SentModel(put(down.vector), put(down.counters), received)
        size = min(MOST_AT_ONCE, max(1, -(-len(clients) // len(self._workers))))
        parts = [list(clients[start : start + size]) for start in range(0, len(clients), size)]
        kind, round_, query = question.kind, question.round, question.query
        requests = [ExamineRequest(model, some, _kept(put, locals_, some), kind, round_, query) for some in parts]
        return [answer for examined in self._in_turn(requests, Examined) for answer in examined.answers]

    def _in_turn(self, requests: Sequence[EvaluateRequest | ExamineRequest], kind: type[A]) -> list[A]:
        """The answers to requests, as many at once as there are workers."""
        answers: list[A] = []
        for start in range(0, len(requests), len(self._workers)):
            batch = list(zip(self._workers, requests[start : start + len(self._workers)], strict=False))
            for worker, request in batch:
                worker.ask(request)
            answers += [expect(kind, worker.take()) for worker, _ in batch]
        return answers


def _kept(put: Callable[[Vector], SharedArray], locals_: Mapping[str, State], clients: Sequence[str]) -> Kept:
    return {client: {n: put(v) for n, v in locals_[client].items()} for client in clients if client in locals_}


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
                    job.share,
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

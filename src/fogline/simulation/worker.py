"""A worker process: trains and evaluates what its parent asks, on the parent's data, in shared memory."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import TYPE_CHECKING, Any

import msgspec

from fogline.aggregation import Update
from fogline.algorithms import Algorithm
from fogline.algorithms.device import LocalRound, run_cohort
from fogline.params import Params, State
from fogline.simulation.arena import Arena, Place
from fogline.training.local import ClientJob
from fogline.training.task import Engine, Sums, Task

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Places = dict[str, Place]


class SentModel(msgspec.Struct, array_like=True):
    """A model that devices start from, in the parent's arena."""

    vector: Place
    counters: Place
    received: Places


class SentJob(msgspec.Struct, array_like=True):
    """A device's job; ``model`` is a position among the request's models."""

    client: int
    model: int
    steps: int
    learning_rate: float
    seed: int
    local: Places


class TrainRequest(msgspec.Struct, tag="train", array_like=True):
    """Train these devices; results go into the worker's arena of that number."""

    models: list[SentModel]
    jobs: list[SentJob]
    arena: int


class Part(msgspec.Struct, array_like=True):
    """Examples to judge a model on: a client's, or some of the test set's where ``client`` is None."""

    client: str | None
    start: int
    stop: int


class EvaluateRequest(msgspec.Struct, tag="evaluate", array_like=True):
    """Judge a model on a part."""

    model: SentModel
    part: Part


class SentRound(msgspec.Struct, array_like=True):
    """A device's result, its vectors in the worker's arena."""

    vectors: Places
    weights: dict[str, float]
    bounds: dict[str, float]
    counters: Place
    local: Places
    samples: int
    loss: float
    loss_rms: float
    failure: str | None


Request = TrainRequest | EvaluateRequest
REQUESTS = msgspec.msgpack.Decoder(Request)
ROUNDS = msgspec.msgpack.Decoder(list[SentRound])
SUMS = msgspec.msgpack.Decoder(Sums)
ENCODER = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker works with, inherited from its parent."""

    task: Task
    algorithm: Algorithm
    build: Callable[[], Engine]
    inputs: Arena
    outputs: tuple[Arena, Arena]


class Worker:
    """A forked process and the line to it.

    ``others`` were forked before: a worker must not hold their lines open, or they would not see the parent go.
    """

    def __init__(self, bench: Bench, others: Sequence[Worker]) -> None:
        self.bench = bench
        self.line, other = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for worker in (self, *others):
                worker.line.close()
            _serve(bench, other)
        other.close()

    def ask(self, request: Request) -> None:
        """Send a request; the answer is to be taken from ``line``."""
        self.line.send_bytes(ENCODER.encode(request))

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self.line.close()
        os.waitpid(self.pid, 0)


def _serve(bench: Bench, line: Connection[Any, Any]) -> None:
    """Answer until the parent hangs up. Never returns into the parent's code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends its workers by hanging up.
    if hasattr(os, "sched_setscheduler"):
        # Else a worker that is woken takes the core from its parent, which has others to wake yet.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    status = 1
    try:
        engine = bench.build()
        while True:
            try:
                request = REQUESTS.decode(line.recv_bytes())
            except (EOFError, OSError):
                break
            if isinstance(request, TrainRequest):
                answer: object = _train(bench, engine, request)
            else:
                answer = evaluate_part(bench.task, _params(bench, request.model), request.part)
            line.send_bytes(ENCODER.encode(answer))
        status = 0
    except Exception:  # noqa: BLE001 - a task's own code may raise anything; it is told before the process is gone
        traceback.print_exc()
    finally:
        os._exit(status)


def _train(bench: Bench, engine: Engine, request: TrainRequest) -> list[SentRound]:
    read = bench.inputs.get
    models = [(read(m.vector), read(m.counters), _read(bench.inputs, m.received)) for m in request.models]
    jobs: list[ClientJob] = []
    for job in request.jobs:
        vector, counters, received = models[job.model]
        local = _read(bench.inputs, job.local)
        jobs.append(ClientJob(job.client, vector, counters, job.steps, job.learning_rate, job.seed, local, received))
    output = bench.outputs[request.arena]
    output.clear()
    engine.memory = output.take
    return [_pack(output, done) for done in run_cohort(engine, bench.algorithm, bench.task, jobs)]


def _read(arena: Arena, places: Places) -> State:
    return {name: arena.get(place) for name, place in places.items()}


def _pack(arena: Arena, done: LocalRound) -> SentRound:
    update = done.update or Update({}, {})
    return SentRound(
        vectors={name: arena.put(vector) for name, vector in update.vectors.items()},
        weights=update.weights,
        bounds=dict(update.bounds),
        counters=arena.put(update.counters),
        local={} if done.update is None else {name: arena.put(vector) for name, vector in done.local.items()},
        samples=done.samples,
        loss=done.loss,
        loss_rms=done.loss_rms,
        failure=done.failure,
    )


def unpack(arena: Arena, client: int, sent: SentRound) -> LocalRound:
    """A result as the parent sees it: vectors are views of the worker's arena, the state is a copy."""
    update = None
    if sent.failure is None:
        vectors = {name: arena.get(place) for name, place in sent.vectors.items()}
        update = Update(vectors, sent.weights, arena.get(sent.counters), bounds=sent.bounds)
    local = {name: arena.get(place).copy() for name, place in sent.local.items()}
    return LocalRound(client, update, local, sent.samples, sent.loss, sent.loss_rms, sent.failure)


def _params(bench: Bench, model: SentModel) -> Params:
    return Params(bench.task.spec, bench.inputs.get(model.vector), bench.inputs.get(model.counters))


def evaluate_part(task: Task, params: Params, part: Part) -> Sums:
    """Judge a model on a part."""
    if part.client is not None:
        return task.evaluate(params, task.data[part.client])
    test = task.data.test
    assert test is not None
    return task.evaluate(params, test.part(slice(part.start, part.stop)))

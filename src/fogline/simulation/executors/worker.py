"""A worker process: trains and evaluates what its parent asks, on the parent's data, in shared memory."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from bdb import BdbQuit
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fogline.aggregation import Update, Weight, is_per_number
from fogline.algorithms.device import LocalRound, run_cohort
from fogline.algorithms.group import Down
from fogline.compute.surveys.survey import Examiner, Question, answers_of
from fogline.nodes.messages import Kind
from fogline.params import Params, State
from fogline.params.ranges import ModelRanges
from fogline.simulation.executors.base import Bench
from fogline.simulation.executors.judging import EvaluationPart, EvaluationSums, evaluate_part
from fogline.simulation.executors.shared_memory import Arena, SharedArray
from fogline.training.local import ClientJob
from fogline.training.task import Engine, Sums
from fogline.user_code.bugs import CodeError, line_of, said

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

A = TypeVar("A")
Places = dict[str, SharedArray]
NO_DEBUGGER = "a debugger needs the terminal, and worker processes have none: run it with processes=0"


class SentModel(msgspec.Struct, array_like=True):
    """A model that devices start from, in the parent's arena."""

    vector: SharedArray
    counters: SharedArray
    received: Places


class SentJob(msgspec.Struct, array_like=True):
    """A device's job; ``model`` is a position among the request's models."""

    client: int
    model: int
    steps: int
    learning_rate: float
    seed: int
    local: Places
    round: int
    common_seed: int
    batch_size: int | None
    share: float


class TrainRequest(msgspec.Struct, tag="train", array_like=True):
    """Train these devices; results go into the worker's arena of that number."""

    models: list[SentModel]
    jobs: list[SentJob]
    arena: int


class EvaluateRequest(msgspec.Struct, tag="evaluate", array_like=True):
    """Judge a model on a part."""

    model: SentModel
    part: EvaluationPart


class SentRound(msgspec.Struct, array_like=True):
    """A device's result, its vectors in the worker's arena."""

    vectors: Places
    weights: dict[str, float]
    each: Places
    """Weights of the vectors that have one for each number."""
    bounds: dict[str, float]
    counters: SharedArray
    local: Places
    samples: int
    loss: float
    loss_rms: float
    failure: str | None
    ranges: str | None
    """Of the model, where the vectors are of a smaller one."""


class Rounds(msgspec.Struct, tag="rounds", array_like=True):
    """The devices' results, in the order in which they were asked for."""

    rounds: list[SentRound]


class ExamineRequest(msgspec.Struct, tag="examine", array_like=True):
    """Ask devices beside the training."""

    model: SentModel
    clients: list[str]
    locals: dict[str, Places]
    """The vectors that the method keeps on each device."""
    kind: Kind
    round: int
    query: str


class Examined(msgspec.Struct, tag="examined", array_like=True):
    """The devices' answers, in the order in which they were asked for: sums, and why there are none."""

    answers: list[tuple[Sums, str]]


class Raised(msgspec.Struct, tag="raised", array_like=True):
    """It could not be done: what was raised, for the parent to raise."""

    what: str
    trace: str
    """As Python prints it."""
    bug: tuple[str, str, str] | None
    """The parts of a ``CodeError``; None for anything else."""


Request = TrainRequest | EvaluateRequest | ExamineRequest
Answer = Rounds | EvaluationSums | Examined | Raised
REQUESTS = msgspec.msgpack.Decoder(Request)
ANSWERS = msgspec.msgpack.Decoder(Answer)
ENCODER = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class SharedBench:
    """What a worker works with, inherited from its parent, and the memory that both see."""

    work: Bench
    inputs: Arena
    outputs: tuple[Arena, Arena]


class ElsewhereError(Exception):
    """What was raised in a worker: the text is its traceback, to be printed as the cause of what the parent raises."""

    def __str__(self) -> str:
        return f'in a worker process\n"""\n{self.args[0]}"""'


class SimulationWorker:
    """A forked process and the line to it.

    ``others`` were forked before: a worker must not hold their lines open, or they would not see the parent go.
    """

    def __init__(self, bench: SharedBench, others: Sequence[SimulationWorker]) -> None:
        self.bench = bench
        self.line, other = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for worker in (self, *others):
                worker.line.close()
            _serve(bench, other)
        other.close()

    def ask(self, request: Request) -> None:
        """Send a request; the answer is to be taken.

        Raises:
            RuntimeError: the process is gone.
        """
        try:
            self.line.send_bytes(ENCODER.encode(request))
        except OSError:
            raise self._gone() from None

    def take(self) -> Answer:
        """Wait for the next answer.

        Raises:
            RuntimeError: the process is gone.
        """
        try:
            return ANSWERS.decode(self.line.recv_bytes())
        except (EOFError, OSError):
            raise self._gone() from None

    def _gone(self) -> RuntimeError:
        return RuntimeError(
            f"Worker process {self.pid} ended in the middle of its work (killed, or out of memory). "
            "What it left in the terminal says more; processes=0 trains without workers."
        )

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self.line.close()
        os.waitpid(self.pid, 0)


def expect(kind: type[A], answer: Answer) -> A:
    """The answer, if it is of that kind.

    Raises:
        CodeError: the developer's code is wrong; the cause has the worker's traceback.
        RuntimeError: the worker could not do what was asked.
    """
    if isinstance(answer, Raised):
        wrong = RuntimeError(answer.what) if answer.bug is None else CodeError(*answer.bug)
        raise wrong from ElsewhereError(answer.trace)
    assert isinstance(answer, kind)
    return answer


def _serve(bench: SharedBench, line: Connection[Any, Any]) -> None:
    """Answer until the parent hangs up. Never returns into the parent's code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends its workers by hanging up.
    if hasattr(os, "sched_setscheduler"):
        # Else a worker that is woken takes the core from its parent, which has others to wake yet.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    sys.breakpointhook = _no_terminal
    sys.stdin = open(os.devnull)  # noqa: SIM115 - the terminal is the parent's; lives as long as the process
    status = 1
    try:
        _answer_all(bench, line)
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # The parent is gone.
    except BaseException:  # noqa: BLE001 - never into the parent's code; a bug here is told before the process is gone
        traceback.print_exc()
    finally:
        os._exit(status)


def _answer_all(bench: SharedBench, line: Connection[Any, Any]) -> None:
    engine: Engine | None = None
    while True:
        try:
            request = REQUESTS.decode(line.recv_bytes())
        except (EOFError, OSError):
            return
        # A developer's code may raise anything, also what ends a program; what it raised is the answer.
        try:
            engine = engine or bench.work.build()
            if isinstance(request, TrainRequest):
                answer: Answer = Rounds(_train(bench, engine, request))
            elif isinstance(request, ExamineRequest):
                answer = _examine(bench, engine, request)
            else:
                answer = evaluate_part(bench.work.task, _params(bench, request.model), request.part)
        except CodeError as error:
            answer = Raised(str(error), traceback.format_exc(), (error.what, error.line, error.place))
        except BdbQuit as quit:
            answer = Raised(NO_DEBUGGER, traceback.format_exc(), (NO_DEBUGGER, line_of(quit.__traceback__), ""))
        except BaseException as error:  # noqa: BLE001
            answer = Raised(f"A worker process could not go on: {said(error)}", traceback.format_exc(), None)
        line.send_bytes(ENCODER.encode(answer))


def _no_terminal(*_: object, **__: object) -> None:
    """What ``breakpoint()`` does in a worker."""
    caller = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    raise CodeError(NO_DEBUGGER, f"{Path(caller.f_code.co_filename).name}, line {caller.f_lineno}")


def _train(bench: SharedBench, engine: Engine, request: TrainRequest) -> list[SentRound]:
    read = bench.inputs.get
    models = [(read(m.vector), read(m.counters), _read(bench.inputs, m.received)) for m in request.models]
    jobs: list[ClientJob] = []
    for job in request.jobs:
        vector, counters, received = models[job.model]
        local = _read(bench.inputs, job.local)
        jobs.append(
            ClientJob(
                job.client,
                vector,
                counters,
                job.steps,
                job.learning_rate,
                job.seed,
                local,
                received,
                job.round,
                job.common_seed,
                job.batch_size,
                share=job.share,
            )
        )
    output = bench.outputs[request.arena]
    output.clear()
    engine.memory = output.take
    return [_pack(output, done) for done in run_cohort(engine, bench.work.algorithm, bench.work.task, jobs)]


def _read(arena: Arena, places: Places) -> State:
    return {name: arena.get(place) for name, place in places.items()}


def _pack(arena: Arena, done: LocalRound) -> SentRound:
    update = done.update or Update({}, {})
    return SentRound(
        vectors={name: arena.put(vector) for name, vector in update.vectors.items()},
        weights={name: weight for name, weight in update.weights.items() if not is_per_number(weight)},
        each={name: arena.put(weight) for name, weight in update.weights.items() if is_per_number(weight)},
        bounds=dict(update.bounds),
        counters=arena.put(update.counters),
        local={} if done.update is None else {name: arena.put(vector) for name, vector in done.local.items()},
        samples=done.samples,
        loss=done.loss,
        loss_rms=done.loss_rms,
        failure=done.failure,
        ranges=None if update.ranges is None else update.ranges.text,
    )


def unpack(arena: Arena, client: int, sent: SentRound) -> LocalRound:
    """A result as the parent sees it: vectors are views of the worker's arena, the state is a copy."""
    update = None
    if sent.failure is None:
        vectors = {name: arena.get(place) for name, place in sent.vectors.items()}
        weights: dict[str, Weight] = {**sent.weights, **_read(arena, sent.each)}
        ranges = None if sent.ranges is None else ModelRanges(sent.ranges)
        update = Update(vectors, weights, arena.get(sent.counters), bounds=sent.bounds, ranges=ranges)
    local = {name: arena.get(place).copy() for name, place in sent.local.items()}
    return LocalRound(client, update, local, sent.samples, sent.loss, sent.loss_rms, sent.failure)


def _examine(bench: SharedBench, engine: Engine, request: ExamineRequest) -> Examined:
    read, model, work = bench.inputs.get, request.model, bench.work
    down = Down(read(model.vector), read(model.counters), _read(bench.inputs, model.received))
    local = {client: _read(bench.inputs, places) for client, places in request.locals.items()}
    examiner = Examiner(work.task, work.algorithm, work.job, lambda _: engine)
    question = Question(request.kind, request.round, request.query)
    return Examined(answers_of(examiner, question, down, request.clients, local))


def _params(bench: SharedBench, model: SentModel) -> Params:
    return Params(bench.work.task.spec, bench.inputs.get(model.vector), bench.inputs.get(model.counters))

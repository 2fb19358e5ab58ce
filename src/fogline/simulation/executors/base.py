"""What every executor is: it trains cohorts and judges models, wherever that happens.

Results come back in the order of the jobs, chunk by chunk, whatever the executor: how jobs are cut into chunks depends
on the engine's choice only, so the executor does not change a bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from fogline.algorithms import Algorithm
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import Down
from fogline.compute.surveys.survey import Question
from fogline.jobs import Job
from fogline.params import Params, State
from fogline.plugins import Registry
from fogline.simulation.executors.judging import EvaluationPart, EvaluationSums, added_up, parts_of
from fogline.training.local import ClientJob
from fogline.training.task import Engine, Sums, Task


@dataclass(frozen=True, slots=True)
class Bench:
    """What an executor works with."""

    task: Task
    """What is learned."""
    algorithm: Algorithm
    """Adjusts local steps and forms updates."""
    build: Callable[[], Engine]
    """Makes the engine; called once in every process."""
    chunk: int
    """Devices that an engine trains together."""
    job: Job = field(default_factory=Job)
    """Says how devices judge."""

    def chunks(self, jobs: Sequence[ClientJob]) -> list[Sequence[ClientJob]]:
        """The jobs as they are trained together."""
        return [jobs[i : i + self.chunk] for i in range(0, len(jobs), self.chunk)]


class Executor(ABC):
    """Trains and evaluates for the simulator.

    Args:
        bench: what it works with.
        processes: worker processes to use; 0 where it needs none.
    """

    def __init__(self, bench: Bench, processes: int) -> None:
        self.bench = bench
        self.processes = processes

    @classmethod
    def refuses(cls, task: Task) -> str | None:
        """Why it cannot run that task, as a sentence that says what to do; None if it can."""
        return None

    @classmethod
    @abstractmethod
    def processes_for(cls, wanted: int | None) -> int:
        """Worker processes that it uses where a job wants so many; None: as many as it thinks best."""

    @abstractmethod
    def run(self, jobs: Sequence[ClientJob]) -> Iterator[LocalRound]:
        """Train devices; results in the order of ``jobs``.

        A result's vectors may be overwritten once the next result is asked for: fold them, or copy them.

        Raises:
            CodeError: the developer's code is wrong; the first in the order of ``jobs``.
            RuntimeError: a worker process is gone.
        """

    @abstractmethod
    def judge(self, params: Params, parts: Sequence[EvaluationPart]) -> Sequence[EvaluationSums]:
        """Judge a model on parts of the data; sums in the order of ``parts``."""

    @abstractmethod
    def examine(
        self, question: Question, down: Down, clients: Sequence[str], locals_: Mapping[str, State]
    ) -> list[tuple[Sums, str]]:
        """Ask devices beside the training: in the order of ``clients``, sums, or why there are none.

        Raises:
            CodeError: the developer's code is wrong.
            RuntimeError: a worker process is gone.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End what was started; the executor is not used again."""

    def evaluate(self, params: Params, clients: Sequence[str | None]) -> list[EvaluationSums]:
        """Judge a model on what of each client's examples does not train, or on the test set where a client is None."""
        parts = [part for client in clients for part in parts_of(self.bench.task, client)]
        return added_up(clients, parts, self.judge(params, parts))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


EXECUTORS = Registry[type[Executor]]("executor", "fogline.simulation.executors", first="processes")
"""All executors: one file each, beside this one."""

"""Cohorts in this process, one chunk after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fogline.algorithms.device import LocalRound, run_cohort
from fogline.algorithms.group import Down
from fogline.compute.surveys.survey import Examiner, Question, answers_of
from fogline.params import Params, State
from fogline.simulation.executors.base import EXECUTORS, Bench, Executor
from fogline.simulation.executors.judging import EvaluationPart, EvaluationSums, evaluate_part
from fogline.training.local import ClientJob
from fogline.training.task import Engine, Sums


@EXECUTORS.add("inline", "This process, one chunk after the other: for debuggers, and where a GPU trains.")
class InlineExecutor(Executor):
    """Trains in this process."""

    def __init__(self, bench: Bench, processes: int) -> None:
        super().__init__(bench, processes)
        self._engine: Engine | None = None

    @classmethod
    def processes_for(cls, wanted: int | None) -> int:
        """None, ever."""
        return 0

    def run(self, jobs: Sequence[ClientJob]) -> Iterator[LocalRound]:
        """Train here; the engine is made when it is first needed."""
        for chunk in self.bench.chunks(jobs):
            yield from run_cohort(self.engine, self.bench.algorithm, self.bench.task, chunk)

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        if self._engine is None:
            self._engine = self.bench.build()
        return self._engine

    def examine(
        self, question: Question, down: Down, clients: Sequence[str], locals_: Mapping[str, State]
    ) -> list[tuple[Sums, str]]:
        """Ask here."""
        bench = self.bench
        examiner = Examiner(bench.task, bench.algorithm, bench.job, lambda _: self.engine)
        return answers_of(examiner, question, down, clients, locals_)

    def judge(self, params: Params, parts: Sequence[EvaluationPart]) -> Sequence[EvaluationSums]:
        """Judge here."""
        return [evaluate_part(self.bench.task, params, part) for part in parts]

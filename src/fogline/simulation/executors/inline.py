"""Cohorts in this process, one chunk after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fogline.algorithms.device import LocalRound, run_cohort
from fogline.params import Params
from fogline.simulation.executors.base import EXECUTORS, Bench, Executor
from fogline.simulation.executors.judging import EvaluationPart, EvaluationSums, evaluate_part
from fogline.training.local import ClientJob
from fogline.training.task import Engine


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
        engine = self._engine = self._engine or self.bench.build()
        for chunk in self.bench.chunks(jobs):
            yield from run_cohort(engine, self.bench.algorithm, self.bench.task, chunk)

    def judge(self, params: Params, parts: Sequence[EvaluationPart]) -> Sequence[EvaluationSums]:
        """Judge here."""
        return [evaluate_part(self.bench.task, params, part) for part in parts]

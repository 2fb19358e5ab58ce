"""Surveys under losses, partitions and crashes; and nodes with a mistake each, which are caught."""

from __future__ import annotations

from typing import Any

import pytest

from fogline.nodes import Aggregator, AggregatorRole
from fogline.nodes.quorum import Quorum
from fogline.simulation.faults import InvariantError, run_survey
from tests.simulation.faults.mistakes import CountsCopies

SEEDS = range(500)


def test_no_answer_is_lost_or_counts_twice_or_to_another_question() -> None:
    outcomes = [run_survey(seed) for seed in SEEDS]
    assert sum(outcome.crashes for outcome in outcomes) > 1000
    assert sum(outcome.rounds for outcome in outcomes) > len(SEEDS)


def test_a_seed_is_repeated_to_the_event() -> None:
    assert run_survey(7) == run_survey(7)


class KeepsOldAnswers(Aggregator):
    """Takes what waited for one question for answers to the next."""

    def __init__(self, role: AggregatorRole, *more: Any, **named: Any) -> None:
        super().__init__(role, *more, **named)
        self.ledger._drop_answers = lambda: None  # type: ignore[method-assign]


class NeverGivesUp(Aggregator):
    """Sets no deadlines."""

    def _set_deadline(self, index: int) -> None:
        pass


class NeedsNobody(Aggregator):
    """Is content with any number of devices."""

    def __init__(self, role: AggregatorRole, *more: Any, **named: Any) -> None:
        super().__init__(role, *more, **named)
        self._quorum = LacksNothing(role, self.ledger)


class LacksNothing(Quorum):
    def lacks(self, lane: object) -> str:
        return ""


@pytest.mark.parametrize(
    ("mistaken", "kinds"),
    [
        (KeepsOldAnswers, {"twice", "missing"}),
        (CountsCopies, {"twice", "missing"}),
        (NeverGivesUp, {"hang"}),
        (NeedsNobody, {"few"}),
    ],
)
def test_a_mistake_is_caught(mistaken: type[Aggregator], kinds: set[str]) -> None:
    caught: set[str] = set()
    for seed in range(150):
        try:
            run_survey(seed, aggregator=mistaken)
        except InvariantError as error:
            caught.add(error.kind)
    assert caught & kinds

"""Every check can fail: nodes with a mistake each are caught, by the invariant that the mistake breaks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from fogline.nodes import Aggregator, Device, records
from fogline.nodes.effects import Effect, Forget, Move, Send, SetTimer, Write
from fogline.nodes.events import Event
from fogline.nodes.ledger import Lane, OpenRequest
from fogline.nodes.messages import Receipt, Report
from fogline.nodes.quorum import Quorum
from fogline.nodes.role import AggregatorRole
from fogline.simulation.faults import InvariantError, run
from tests.simulation.faults.mistakes import CountsCopies

SEEDS = range(150)


class ReceiptsFirst(Aggregator):
    """Acknowledges before the update is in the journal."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        return sorted(super().handle(event, now), key=lambda effect: not is_receipt(effect))


def is_receipt(effect: Effect) -> bool:
    return isinstance(effect, Send) and isinstance(effect.message, Receipt)


class ForgetsWhenSent(Aggregator):
    """Lets go of its children's updates when the report is sent, not when the parent has it."""

    def _post(self) -> None:
        super()._post()
        for task in list(self.ledger.outbox.reports):
            self._receipt(task, accepted=True)


class NeverGivesUp(Aggregator):
    """Sets no deadlines."""

    def _set_deadline(self, index: int) -> None:
        pass


class DropsWhatWaited(Aggregator):
    """Begins with nothing when the parent asks anew."""

    def _log(self, record: records.Record) -> None:
        if isinstance(record, records.Assigned):
            self.ledger.used = []
            for lane in self.ledger.lanes:
                lane.pending = []
        super()._log(record)


class LosesTheMoved(Aggregator):
    """Forgets, when the parent asks anew, which updates were in the model that is replaced."""

    def _log(self, record: records.Record) -> None:
        if isinstance(record, records.Assigned):
            self.ledger.used = []
        super()._log(record)


class ForgetsTooEarly(Aggregator):
    """Deletes a model that it then starts from."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for effect in super().handle(event, now):
            effects += [Forget((effect.base,)), effect] if isinstance(effect, Move) else [effect]
        return effects


class WritesBeforeItMoves(Aggregator):
    """Says in the journal that the model moved before it did."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        effects = super().handle(event, now)
        for i, (first, second) in enumerate(pairwise(effects)):
            if isinstance(first, Move) and isinstance(second, Write):
                effects[i], effects[i + 1] = second, first
        return effects


class BelievesAnyone(Aggregator):
    """Takes an answer from whoever sends it."""

    def expects(self, child: str, task: int) -> bool:
        return task in self.ledger.asks

    def _report(self, child: str, report: Report) -> None:
        ask = self.ledger.asks.get(report.task)
        super()._report(child if ask is None else ask.child, report)


class DropsEverythingLate(Aggregator):
    """Drops late reports although its job folds them."""

    def __init__(self, role: AggregatorRole, *more: Any, **named: Any) -> None:
        super().__init__(role, *more, **named)
        self._quorum = CountsNothingLate(role, self.ledger)


class CountsNothingLate(Quorum):
    """Says that no late report counts."""

    def refusal(self, ask: OpenRequest, report: Report, own: str) -> str | None:
        return super().refusal(ask, report, own) or (None if ask.open else "late")


class AnswersTwice(Aggregator):
    """Goes on with a request after it was answered."""

    def _receipt(self, task: int, accepted: bool) -> None:
        super()._receipt(task, accepted)
        self.ledger.answered = False


class WritesNothingDown(Aggregator):
    """Keeps an accepted update in memory only."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        effects = super().handle(event, now)
        return [e for e in effects if not (isinstance(e, Write) and isinstance(e.record, records.Accepted))]


class CutsToWhoIsThere(Aggregator):
    """Is content with those that can be asked."""

    def __init__(self, role: AggregatorRole, *more: Any, **named: Any) -> None:
        super().__init__(role, *more, **named)
        self._quorum = CountsAnything(role, self.ledger)

    def _ask(self, index: int, children: Sequence[str], need: int, quorum: int, lap: Sequence[str]) -> None:
        super()._ask(index, children, need, min(quorum, len(children)), lap)


class CountsAnything(Quorum):
    """Says that a round with one report lacks nothing."""

    def lacks(self, lane: Lane) -> str:
        return "" if lane.fresh else super().lacks(lane)


class CountsFailures(Aggregator):
    """Takes every report for an update."""

    def _leave_out_failed(self, lane: Lane) -> bool:
        return True


class SaysItOnce(Device):
    """Does not send its report again."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        return [effect for effect in super().handle(event, now) if not isinstance(effect, SetTimer)]


class Jitters(Aggregator):
    """Draws from the source of randomness that all share."""

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, SetTimer):
            effect = SetTimer(effect.timer, effect.at - 0.01 * random.random())
        super()._do(effect)


@pytest.mark.parametrize(
    ("mistake", "kind"),
    [
        (CountsCopies, "twice"),
        (ReceiptsFirst, "lost"),
        (ForgetsWhenSent, "lost"),
        (NeverGivesUp, "hang"),
        (DropsWhatWaited, "lost"),
        (LosesTheMoved, "lost"),
        (ForgetsTooEarly, "missing"),
        (WritesBeforeItMoves, "missing"),
        (BelievesAnyone, "forged"),
        (DropsEverythingLate, "lost"),
        (AnswersTwice, "forged"),
        (WritesNothingDown, "lost"),
        (CutsToWhoIsThere, "few"),
        (CountsFailures, "failed"),
    ],
)
def test_a_mistake_of_an_aggregator_is_caught(mistake: type[Aggregator], kind: str) -> None:
    assert is_caught(kind, aggregator=mistake)


def test_a_device_that_says_it_once_is_caught() -> None:
    assert is_caught("hang", device=SaysItOnce)


def test_shared_randomness_is_caught() -> None:
    traces = [[run(seed, aggregator=Jitters).trace for seed in range(5)] for _ in range(2)]
    assert traces[0] != traces[1]


class CarriesOver(Aggregator):
    """Keeps what a round that did not count has gathered, also where noise is for one round."""

    def _give_up(self, lane: Lane) -> list[Effect]:
        return []


def test_a_device_that_is_in_a_sum_twice_is_caught() -> None:
    assert is_caught("twice", aggregator=CarriesOver, private=True)


def is_caught(
    kind: str, aggregator: type[Aggregator] = Aggregator, device: type[Device] = Device, private: bool = False
) -> bool:
    """Whether some seed ends with a violation of that kind."""
    for seed in SEEDS:
        try:
            run(seed, aggregator=aggregator, device=device, private=private)
        except InvariantError as violation:
            print(f"seed {seed}: {violation}")
            if violation.kind == kind:
                return True
    return False

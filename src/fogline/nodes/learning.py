"""What an aggregator learns of the children that it selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fogline.nodes import records
from fogline.nodes.ledger import Ledger, OpenRequest
from fogline.nodes.policies import Feedback

LATE = ("late", "surplus", "stale")
"""Why reports do not count that came when their round was over."""


class Learner(Protocol):
    """Learns from what came of selections: a policy, or the pace of the children."""

    def observe(self, child: str, feedback: Feedback, round: int, /) -> None:
        """What came of selecting a child in that round."""
        ...


class Learning:
    """Tells what came of selections, from the records: so the journal's replay teaches it again.

    Args:
        learners: who is told.
        ledger: of the aggregator.
    """

    def __init__(self, learners: Sequence[Learner], ledger: Ledger) -> None:
        self._learners = learners
        self._ledger = ledger

    def learn(self, record: records.Record) -> None:
        """Tell of what a record says; the ledger is as before it."""
        ledger = self._ledger
        match record:
            case records.Accepted(task=task):
                self._answered(ledger.asks[task], record, late=not ledger.asks[task].open)
            case records.Resolved(task=task, why=why):
                self._answered(ledger.asks[task], record, failed=why == "failed", late=why in LATE)
            case records.Spoiled(lane=index, tasks=tasks):
                for one in ledger.lanes[index].pending:
                    if one.task in tasks:
                        self._tell(one.child, Feedback(0, None, 0.0, failed=True))
            case records.Advanced(gone=tasks):
                for task in tasks:
                    self._given_up(ledger.asks[task], record.at)
            case records.Closed(lane=index) if ledger.lanes[index].fresh < ledger.lanes[index].need:
                for ask in map(ledger.asks.__getitem__, ledger.lanes[index].asks):
                    if ask.at < record.keep_since:
                        self._given_up(ask, record.at)
            case _:
                pass

    def _answered(
        self, ask: OpenRequest, said: records.Accepted | records.Resolved, failed: bool = False, late: bool = False
    ) -> None:
        took = said.at - ask.at
        self._tell(ask.child, Feedback(said.samples, said.loss_rms, took, failed, said.training, ask.effort, late))

    def _given_up(self, ask: OpenRequest, at: float) -> None:
        self._tell(ask.child, Feedback(0, None, at - ask.at, failed=True, effort=ask.effort, late=True))

    def _tell(self, child: str, feedback: Feedback) -> None:
        for learner in self._learners:
            learner.observe(child, feedback, self._ledger.round)

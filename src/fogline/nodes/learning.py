"""What a selection policy is told of the children that it selected."""

from __future__ import annotations

from fogline.nodes import records
from fogline.nodes.ledger import Ledger, OpenRequest
from fogline.nodes.policies import Feedback, Selection


class PolicyLearning:
    """Tells a policy what came of its selections, from the records: so the journal's replay teaches it again.

    Args:
        policy: of the aggregator.
        ledger: of the aggregator.
    """

    def __init__(self, policy: Selection, ledger: Ledger) -> None:
        self._policy = policy
        self._ledger = ledger

    def learn(self, record: records.Record) -> None:
        """Tell of what a record says; the ledger is as before it."""
        ledger = self._ledger
        match record:
            case records.Accepted(task=task, samples=samples, loss_rms=loss):
                self._observe(ledger.asks[task], record.at, samples, loss)
            case records.Resolved(task=task, samples=samples, loss_rms=loss):
                self._observe(ledger.asks[task], record.at, samples, loss, failed=record.why == "failed")
            case records.Spoiled(lane=index, tasks=tasks):
                for one in ledger.lanes[index].pending:
                    if one.task in tasks:
                        self._policy.observe(one.child, Feedback(0, None, 0.0, failed=True), ledger.round)
            case records.Advanced(gone=tasks):
                for task in tasks:
                    self._observe(ledger.asks[task], record.at, failed=True)
            case records.Closed(lane=index) if ledger.lanes[index].fresh < ledger.lanes[index].need:
                for ask in map(ledger.asks.__getitem__, ledger.lanes[index].asks):
                    if ask.at < record.keep_since:
                        self._observe(ask, record.at, failed=True)
            case _:
                pass

    def _observe(
        self, ask: OpenRequest, at: float, samples: int = 0, loss_rms: float | None = None, failed: bool = False
    ) -> None:
        self._policy.observe(ask.child, Feedback(samples, loss_rms, at - ask.at, failed), self._ledger.round)

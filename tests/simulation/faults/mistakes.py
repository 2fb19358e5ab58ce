"""Mistakes that are planted into state machines, for training and for surveys alike."""

from __future__ import annotations

from fogline.nodes import Aggregator
from fogline.nodes.ledger import AcceptedUpdate
from fogline.nodes.messages import Report, update_key


class CountsCopies(Aggregator):
    """Folds a report again when its copy comes."""

    def expects(self, child: str, task: int) -> bool:
        return True

    def _unexpected(self, child: str, report: Report) -> None:
        super()._unexpected(child, report)
        if report.update is not None and self.ledger.accepted(report.task):
            own = update_key(self.name, report.task)
            again = AcceptedUpdate(report.task, child, own, self.ledger.version, 1, 1, 0)
            self.ledger.lanes[0].pending.append(again)

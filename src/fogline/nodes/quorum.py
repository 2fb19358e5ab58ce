"""What counts: which reports do, and what a round lacks to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fogline.nodes.ledger import AcceptedUpdate, Lane, Ledger, OpenRequest
from fogline.nodes.messages import Key, Report
from fogline.nodes.role import AggregatorRole

REASONS = {
    "late": "its round was over",
    "surplus": "its round had enough",
    "stale": "the model it set out from is too old",
    "early": "it reported before the steps of its exchange",
    "refused": "it named an update that is not its own",
}
"""Why an update that came does not count."""


Sift = Callable[[Sequence[AcceptedUpdate]], Mapping[int, str] | None]
"""Which updates that wait turn out to be none, by task, and why; given by a runtime that looks at their numbers only
when a round may close. None: it does not know yet, and will say ``UpdatesChecked``."""


def counted(amount: int, what: str = "device") -> str:
    """A number of devices, or of something else, as a phrase."""
    return f"{amount} {what}{'s' * (amount != 1)}"


class Quorum:
    """Decides what counts by the job's rules. Remembers nothing: all it needs is in the ledger."""

    def __init__(self, role: AggregatorRole, ledger: Ledger) -> None:
        self._role = role
        self._ledger = ledger

    def refusal(self, ask: OpenRequest, report: Report, own: Key) -> str | None:
        """Why a report does not count; None if it does.

        Args:
            ask: the request that it answers.
            report: of the child that was asked.
            own: the key of the child's own update.
        """
        if report.update is None:
            return "failed"
        if report.update != own:  # It names another child's update as its own.
            return "refused"
        if self._ledger.ended or (not ask.open and self._role.tier.late == "drop"):
            return "surplus" if ask.surplus else "late"
        if self._role.tier.stale == "drop" and self.is_stale(ask):
            return "stale"
        ledger = self._ledger
        return "early" if ledger.has_steps and ledger.exchanges[ask.lane].goes_on else None

    def is_stale(self, ask: OpenRequest) -> bool:
        """Whether an answer is older than the job's cap."""
        return self._ledger.version - ask.version > self._role.tier.staleness_cap

    def lacks(self, lane: Lane) -> str:
        """What a lane's round lacks to count; empty if it counts as it is."""
        if lane.fresh < lane.quorum:
            return f"{counted(lane.fresh, 'report')}, the quorum is {lane.quorum}"
        fewest, minimum = self._role.tier.fewest, self._role.minimum
        if self._role.mode == "async" and len({one.child for one in lane.pending}) < fewest:
            return f"reports of fewer than {fewest} children, the quorum is {fewest}"
        devices = self._ledger.devices(lane.pending)[0] if minimum > 1 else minimum
        return "" if devices >= minimum else f"{counted(devices)}, the job's minimum is {minimum}"

    def nobody_comes(self, lane: Lane) -> bool:
        """Whether a lane's round has nobody left to wait for. Who is away may come back, and is waited for where the
        round lacks it."""
        return not lane.asks or (len(lane.asks) == lane.absent and not self.lacks(lane))

    def ring_lacks(self) -> str:
        """Ring mode, at the end of a ring: what it lacks to count as a round. What its hops did to the model stays, as
        the updates of other rounds that miss their quorum are carried into the next."""
        if self._role.mode != "ring":
            return ""
        met, hops = self._ledger.hops_met + self._ledger.lanes[0].fresh, self._ledger.hops
        quorum = self._ledger.hops_needed
        return f"{met} of {hops} hops, the quorum is {quorum}" if met < quorum else ""

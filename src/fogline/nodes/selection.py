"""Whom an aggregator asks next, and how many answers it then needs."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fogline.nodes.children.pace import Pace
from fogline.nodes.children.roster import Roster, RosterView
from fogline.nodes.ledger import Ledger
from fogline.nodes.policies import Candidates, Selection
from fogline.nodes.quorum import counted
from fogline.nodes.role import AggregatorRole


@dataclass(frozen=True, slots=True)
class AskedCohort:
    """Children that are asked together, and how many of their reports a round needs."""

    children: Sequence[str]
    need: int
    """Reports that close the round."""
    quorum: int
    """Reports without which it does not count."""
    ring_order: Sequence[str] = ()
    """Ring mode, where a ring begins: all its children in order."""
    short: str = ""
    """Why no round with these children could count; empty if one could."""


class CohortSelection:
    """Selects children for the rounds of every mode. Remembers nothing: all it needs is in ledger and roster."""

    def __init__(
        self, role: AggregatorRole, policy: Selection, roster: Roster, ledger: Ledger, pace: Pace | None = None
    ) -> None:
        self._role = role
        self._pace = pace
        self._policy = policy
        self._roster = roster
        self._ledger = ledger
        self._random = random.Random()
        digest = hashlib.sha256(f"{role.seed}/{role.name}".encode()).digest()
        self._seed = int.from_bytes(digest[:8], "little")

    def candidates(self, lane: int) -> Candidates:
        """The children that a lane may ask."""
        roster = self._roster
        if roster.classes is not None:
            return RosterView(roster, roster.classes.row(lane))
        row = roster.idle if roster.admitted is None else roster.admitted
        return roster if row is None else RosterView(roster, row)

    def cohort(self, lane: int, round_: int, now: float) -> AskedCohort:
        """Whom to ask for a lane's next round."""
        tier, mode = self._role.tier, self._role.mode
        if mode == "ring":
            return self._hop(round_, now)
        if mode == "async":
            children = len(self._roster)
            need = self._role.buffer_of(min(tier.cohort_of(children), children))
            chosen = self.fill_up(round_, now)
            short = self._short([*chosen, *self._ledger.busy], tier.fewest)
            return AskedCohort(chosen, need, tier.quorum_of(need), short=short)
        candidates = self.candidates(lane)
        size = self._role.cohort_of(len(candidates))
        quorum = self._role.quorum_of(size)
        over = tier.over_selection
        if over == "auto":
            over = 1.0 if self._pace is None else self._pace.over_selection
        # Rounded up, but not because 1.1 times 10 is a little more than 11.
        chosen = self._select(candidates, -int((1e-9 - size * over) // 1), round_, now)
        return AskedCohort(chosen, min(size, len(chosen)), quorum, short=self._short(chosen, quorum))

    def fill_up(self, round_: int, now: float, without: Collection[str] = ()) -> list[str]:
        """Async mode: children that are missing in the cohort that trains at once; ``without``: who has done enough."""
        if not len(self._roster):
            return []
        missing = self._role.tier.cohort_of(len(self._roster)) - len(self._ledger.busy) - self._ledger.lanes[0].spoiled
        return [child for child in self._select(self.candidates(0), missing, round_, now) if child not in without]

    def can_count(self, lane: int) -> bool:
        """Whether a lane has children enough for a round that counts, wherever they are now."""
        candidates = self.candidates(lane)
        children = len(candidates)
        if not children or children < self._role.quorum_of(self._role.cohort_of(children)):
            return False
        return self._role.minimum == 1 or self._devices(map(candidates.at, range(children))) >= self._role.minimum

    def lacks_turns(self, lane: int, round_: int) -> bool:
        """Whether it is the turn of too few for that round to count, of all children that there are or were: then there
        is nobody to wait for."""
        policy, roster = self._policy, self._roster
        if type(policy).has_turn is Selection.has_turn:
            return False
        quorum = self._role.quorum_of(self._role.cohort_of(len(self.candidates(lane))))
        return sum(policy.has_turn(child, round_) for child in (*roster.hellos, *roster.away)) < max(1, quorum)

    def _short(self, children: Sequence[str], quorum: int) -> str:
        """What is missing for a round of these children to count."""
        if not children:
            return "nobody could be asked"
        if len(children) < quorum:
            return f"{len(children)} could be asked, the quorum is {quorum}"
        minimum = self._role.minimum
        devices = self._devices(children) if minimum > 1 else minimum
        return "" if devices >= minimum else f"{counted(devices)} could be asked, the job's minimum is {minimum}"

    def _devices(self, children: Iterable[str]) -> int:
        return sum(map(self._roster.devices_of, children))

    def ring_goes_on(self, now: float) -> bool:
        """Ring mode: whether one of those whose turn is still to come can be asked."""
        return any(self._roster.can_be_asked(child, now) for child in self._ledger.ring_order)

    def _hop(self, round_: int, now: float) -> AskedCohort:
        """The one child whose turn it is; who is in a ring and in which order is drawn anew for each."""
        if self._ledger.ring_order:
            turn = next(
                (child for child in reversed(self._ledger.ring_order) if self._roster.can_be_asked(child, now)), None
            )
            return AskedCohort([turn] if turn else [], need=1, quorum=1, short="" if turn else self._short((), 1))
        size = self._role.tier.cohort_of(len(self._roster))
        ring_order = sorted(self._select(self._roster, size, round_, now))
        self._random.shuffle(ring_order)
        short = self._short(ring_order, self._role.tier.quorum_of(size))
        return AskedCohort(ring_order[:1], need=1, quorum=1, ring_order=ring_order, short=short)

    def _select(self, candidates: Candidates, count: int, round_: int, now: float) -> list[str]:
        if count < 1 or not len(candidates):
            return []
        # From the next request's number, so that a node that crashed before it asked selects the same children.
        self._random.seed(self._seed + self._ledger.next_task)
        chosen = self._policy.select(candidates, count, self._random, round_, now)
        here, busy = self._roster.hellos, self._ledger.busy
        return [child for child in chosen if child in here and child not in busy]

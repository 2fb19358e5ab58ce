"""Whom an aggregator asks next, and how many answers it then needs."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from fogline.nodes.ledger import Ledger
from fogline.nodes.policies import Candidates, Selection
from fogline.nodes.role import Role
from fogline.nodes.roster import Roster, View


@dataclass(frozen=True, slots=True)
class Cohort:
    """Children to ask together."""

    children: Sequence[str]
    need: int
    """Reports that close the round."""
    lap: Sequence[str] = ()
    """Ring mode, where a lap begins: all its children in order."""


class Asking:
    """Selects children for the rounds of every mode. Remembers nothing: all it needs is in ledger and roster."""

    def __init__(self, role: Role, policy: Selection, roster: Roster, ledger: Ledger) -> None:
        self._role = role
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
            return View(roster, roster.classes.row(lane))
        return roster if roster.idle is None else View(roster, roster.idle)

    def cohort(self, lane: int, round_: int, now: float) -> Cohort:
        """Whom to ask for a lane's next round."""
        tier, mode = self._role.tier, self._role.mode
        if mode == "ring":
            return self._leg(round_, now)
        if mode == "async":
            # A buffer larger than what trains at once would only make updates older.
            size = tier.cohort_of(len(self._roster))
            return Cohort(self.fill_up(round_, now), min(self._role.buffer, size))
        candidates = self.candidates(lane)
        size = tier.cohort_of(len(candidates)) if len(candidates) else 0
        # Rounded up, but not because 1.1 times 10 is a little more than 11.
        chosen = self._select(candidates, -int((1e-9 - size * tier.over_selection) // 1), round_, now)
        return Cohort(chosen, min(size, len(chosen)))

    def fill_up(self, round_: int, now: float) -> list[str]:
        """Async mode: children that are missing in the cohort that trains at once."""
        if not len(self._roster):
            return []
        missing = self._role.tier.cohort_of(len(self._roster)) - len(self._ledger.busy)
        return self._select(self.candidates(0), missing, round_, now)

    def lap_goes_on(self, now: float) -> bool:
        """Ring mode: whether one of those whose turn is still to come can be asked."""
        return any(self._roster.fit(child, now) for child in self._ledger.lap)

    def _leg(self, round_: int, now: float) -> Cohort:
        """The one child whose turn it is; who is in a lap and in which order is drawn anew for each."""
        if self._ledger.lap:
            turn = next((child for child in reversed(self._ledger.lap) if self._roster.fit(child, now)), None)
            return Cohort([] if turn is None else [turn], need=1)
        size = self._role.tier.cohort_of(len(self._roster)) if len(self._roster) else 0
        lap = sorted(self._select(self._roster, size, round_, now))
        self._random.shuffle(lap)
        return Cohort(lap[:1], need=1, lap=lap)

    def _select(self, candidates: Candidates, count: int, round_: int, now: float) -> list[str]:
        if count < 1 or not len(candidates):
            return []
        # From the next request's number, so that a node that crashed before it asked selects the same children.
        self._random.seed(self._seed + self._ledger.next_task)
        chosen = self._policy.select(candidates, count, self._random, round_, now)
        here, busy = self._roster.hellos, self._ledger.busy
        return [child for child in chosen if child in here and child not in busy]

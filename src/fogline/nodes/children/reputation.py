"""How far an aggregator trusts its children, by what its rule has used of their updates over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fogline.jobs.tree import Quarantine  # Not imported here: a device has no children, and little memory.


class Verdict(NamedTuple):
    """What a child comes to."""

    child: str
    barred: bool
    """Whether it is not asked any more; False: it is asked again."""
    why: str


class Reputation:
    """The reputation of every child, and who is in quarantine. Changed by records only.

    A child begins with 1. After a round in which its rule used ``s`` of its update (0 to 1, beside the usual), its
    reputation r becomes ``memory · r + (1 - memory) · s``. A rule that withstands f liars leaves f out, also where
    there are fewer, so ``s`` counts of as many children as there is room for in quarantine, those with the least; of
    all others it is 1. Below ``below`` a child is not asked for ``rounds`` rounds of the aggregator; then it is on
    trial: it is asked with a reputation of ``below``, and has its room until its next round is judged.

    Args:
        terms: of the tier.
        needed: children that a round needs to count. So many are never in quarantine, of those that were judged.
    """

    def __init__(self, terms: Quarantine, needed: int = 1) -> None:
        self._terms = terms
        self._needed = needed
        self.of: dict[str, float] = {}
        """By child; one that was never judged has 1."""
        self.barred: dict[str, int] = {}
        """Children in quarantine, and the round at whose end they are asked again; -1: they are not."""
        self.trial: set[str] = set()
        """Children that were in quarantine, and were not judged since."""
        self.round = 0
        """Rounds of the aggregator that are over."""
        self.news: list[Verdict] = []
        """Whoever has taken note of them clears the list."""
        self._whys: dict[str, str] = {}

    def judge(self, scores: Sequence[tuple[str, float]]) -> None:
        """Take over how much of each child's update was used in a round."""
        memory, below = self._terms.memory, self._terms.below
        judged = [(score, self.of.get(child, 1.0), child) for child, score in scores if child not in self.barred]
        known = len(self.of.keys() | {child for *_, child in judged})
        most = min(self._terms.most_of(known), known - self._needed)
        room = max(0, most - len(self.barred) - len(self.trial))
        others = sorted(one for one in judged if one[-1] not in self.trial)
        suspects = self.trial | {child for *_, child in others[:room]}
        for score, before, child in judged:
            self.of[child] = memory * before + (1.0 - memory) * (score if child in suspects else 1.0)
        self.trial -= {child for *_, child in judged}
        for child in sorted(
            (child for *_, child in judged if child in suspects), key=lambda child: (self.of[child], child)
        ):
            if self.of[child] < below and len(self.barred) < most:
                self._bar(child)

    def _bar(self, child: str) -> None:
        rounds = self._terms.rounds
        self.barred[child] = self.round + rounds + 1 if rounds else -1  # The next round may have been asked already.
        until = f"for {rounds} rounds" if rounds else "until the end"
        self._whys[child] = (
            f"after {self.round} rounds its reputation fell to {self.of[child]:.2f}, below {self._terms.below:g}; it "
            f"is not asked {until}"
        )
        self.news.append(Verdict(child, True, self._whys[child]))

    def begin(self) -> None:
        """The node begins, perhaps after a crash: who is in quarantine is told again, as that may have been lost; what
        was told before is not."""
        self.news = [Verdict(child, True, self._whys[child]) for child in self.barred]

    def close_round(self) -> None:
        """A round is over, whether it counted or not."""
        self.round += 1
        for child in [child for child, until in self.barred.items() if until == self.round]:
            del self.barred[child]
            self.of[child] = self._terms.below
            self.trial.add(child)
            self.news.append(Verdict(child, False, f"it is asked again after {self._terms.rounds} rounds"))

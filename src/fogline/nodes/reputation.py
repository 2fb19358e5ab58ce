"""How far an aggregator trusts its children, by what its rule has used of their updates over the rounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fogline.jobs.tree import Quarantine


class Verdict(NamedTuple):
    """What a child comes to."""

    child: str
    barred: bool
    """Whether it is not asked any more; False: it is asked again."""
    why: str


class Reputation:
    """The reputation of every child, and who is in quarantine. Changed by records only.

    A child begins with 1. After a round in which its rule used ``s`` of its update (0 to 1, beside the usual), its
    reputation r becomes ``memory · r + (1 - memory) · s``. Below ``below`` it is not asked for ``rounds`` rounds of the
    aggregator; then it is asked again with ``below``, so that one bad round more is enough. Fewer than half of the
    children that were ever judged are in quarantine at a time, those with the least reputation: a rule that is right is
    so by the honest being most.

    Args:
        terms: of the tier.
    """

    def __init__(self, terms: Quarantine) -> None:
        self._terms = terms
        self.of: dict[str, float] = {}
        """By child; one that was never judged has 1."""
        self.barred: dict[str, int] = {}
        """Children in quarantine, and the round at whose end they are asked again; -1: they are not."""
        self.round = 0
        """Rounds of the aggregator that are over."""
        self.news: list[Verdict] = []
        """Whoever has taken note of them clears the list."""
        self._whys: dict[str, str] = {}

    def judge(self, scores: Iterable[tuple[str, float]]) -> None:
        """Take over how much of each child's update was used in a round."""
        memory, below, judged = self._terms.memory, self._terms.below, list[tuple[float, str]]()
        for child, score in scores:
            self.of[child] = memory * self.of.get(child, 1.0) + (1.0 - memory) * score
            judged.append((self.of[child], child))
        for reputation, child in sorted(judged):
            room = 2 * (len(self.barred) + 1) < len(self.of)
            if reputation < below and room and child not in self.barred:
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
            self.news.append(Verdict(child, False, f"it is asked again after {self._terms.rounds} rounds"))

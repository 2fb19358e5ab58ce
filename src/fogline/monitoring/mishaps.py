"""What went wrong in a run: how often, and why."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from fogline.errors import FoglineError

TOLD = ("failed", "refused", "abandoned")
"""Kinds whose reasons a run without a result gives."""
DISTINCT = 20
"""Reasons of a kind that are told apart; further ones are counted together."""
SHOWN = 3
"""Reasons that a sentence names, the most frequent."""
OTHER = "other reasons"
WHOSE = re.compile(r"^Client '[^']*': ")
LONGEST = 300
"""Characters of a reason in a sentence."""
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(slots=True)
class Mishaps:
    """Running totals of updates that did not count, rounds that were abandoned, and nodes that failed: devices, and
    fogs of which no round counted."""

    counts: Counter[str] = field(default_factory=Counter[str])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    """The first reason seen of each kind, and whose it was."""
    tallies: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """How often each reason was given, by kind."""

    cut_off: dict[str, str] = field(default_factory=dict[str, str])
    """Nodes that were not asked any more because of what they had sent, and why."""
    listener: Callable[[str, str], None] | None = None
    """Told what befell whom, as it is counted."""

    def count(self, what: str, who: str = "", why: str = "", amount: int = 1) -> None:
        """Something went wrong, or was in vain."""
        if what == "quarantined":
            if self.cut_off.get(who) == why:
                return  # A node that was restarted tells it again.
            self.cut_off[who] = why
        self.counts[what] += amount
        if self.listener is not None:
            self.listener(what, who)
        if why:
            self.reasons.setdefault(what, f"{who}: {why}" if who and not why.startswith(f"Client '{who}'") else why)
            tally = self.tallies.setdefault(what, Counter())
            why = WHOSE.sub("", why)  # One reason, however many clients have it.
            if why not in tally and len(tally) >= DISTINCT:
                why = next((known for known in tally if _shape(known) == _shape(why)), OTHER)
            tally[why] += amount

    def told(self, what: str) -> str:
        """The reasons of a kind, with how often each was given; empty if none is known.

        Where they are too many to be named, those that differ in their numbers only stand together.
        """
        tally = Counter({why: count for why, count in self.tallies.get(what, {}).items() if why != OTHER})
        named = (tally if len(tally) <= SHOWN else _together(tally)).most_common(SHOWN)
        rest = self.counts[what] - sum(count for _, count in named)  # Told too, so that the counts add up.
        shown = [f"{count:,} × {why[:LONGEST].rstrip('.')}" for why, count in named]
        return "; ".join([*shown, f"{rest:,} × {OTHER}"] if shown and rest > 0 else shown)

    def nothing_learned(self, rounds: int) -> str:
        """Why a run without a round that counted has no model."""
        parts = [f"No round of {rounds:,} counted, so nothing was learned."]
        for what, says in (("failed", "nodes failed"), ("refused", "updates were refused")):
            if self.counts[what]:
                parts.append(f"{self.counts[what]:,} times {says} ({self.told(what) or 'they did not say why'}).")
        if self.counts["abandoned"]:
            parts.append(f"{self.counts['abandoned']:,} rounds were abandoned ({self.told('abandoned')}).")
        others = [f"{count:,} {what}" for what, count in sorted(self.counts.items()) if what not in TOLD and count]
        if others:
            parts.append(f"Besides: {', '.join(others)}.")
        return " ".join(parts)


def _shape(why: str) -> str:
    """A reason without its numbers."""
    return NUMBER.sub("#", why)


def _together(tally: Counter[str]) -> Counter[str]:
    """Reasons of one shape as one, told by the most frequent of them."""
    alike = defaultdict[str, list[str]](list)
    for why, _ in tally.most_common():
        alike[_shape(why)].append(why)
    return Counter(
        {
            f"{whys[0].rstrip('.')} (the numbers differ)" if whys[1:] else whys[0]: sum(tally[why] for why in whys)
            for whys in alike.values()
        }
    )


def lost_in_words(lost: int, rounds: int, why: str = "") -> str:
    """That rounds of those that were asked for came to nothing, for people.

    Args:
        lost: how many.
        rounds: that were asked for.
        why: the reasons of rounds that were abandoned, on any tier.
    """
    return f"{lost:,} of {rounds:,} rounds came to nothing" + (f" ({why})" if why else "")


class RunError(FoglineError, RuntimeError):
    """A run in which no round counted, so that nothing was learned; the text says why.

    Args:
        rounds: that it had.
        mishaps: what went wrong.
    """

    def __init__(self, rounds: int, mishaps: Mishaps) -> None:
        super().__init__(mishaps.nothing_learned(rounds))
        self.mishaps = mishaps

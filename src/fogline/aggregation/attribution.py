"""Whose updates a rule has used: what an aggregator goes by when it judges its children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fogline.aggregation.geometry import Matrix
from fogline.aggregation.rows import UpdateRows

PLACES = 10_000
"""Numbers of an update that are looked at, at most,"""
NUMBERS = 1 << 22
"""and of all updates together."""
Used = tuple[UpdateRows, Matrix | None]
"""The updates under a name, and what the rule has mixed of them."""


class Telling(Protocol):
    """What is asked of a rule: see :class:`fogline.aggregation.rules.Rule`."""

    combines: ClassVar[bool]

    @property
    def trusted(self) -> str:
        """The child that the others are measured by."""
        ...

    def kept(self, block: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Which numbers count in what it makes of a block."""
        ...


def shares_of(rule: Telling, rows: UpdateRows, matrix: Matrix | None) -> Matrix:
    """(updates,), how much of each update there is in what the rule makes of them.

    Of what is mixed it is how much of each goes into the mixtures; of what is combined number by number, the share of
    its numbers that count. That is looked up at some places, drawn as rules draw: who sends an update cannot know them.
    """
    parts = np.eye(len(rows)) if matrix is None else np.abs(matrix)
    if rule.combines:
        parts = _counted(rule, rows, matrix)[:, None] * parts
    return parts.sum(axis=0)


def _counted(rule: Telling, rows: UpdateRows, matrix: Matrix | None) -> Matrix:
    """(mixtures,), the share of the numbers of each that count."""
    most = min(PLACES, max(1, NUMBERS // len(rows)), rows.size)
    places = np.random.default_rng(rows.geometry().seed).choice(rows.size, most, replace=False)
    table = rows.at(np.sort(places))
    kept = rule.kept(table if matrix is None else matrix @ table)
    return np.ones(len(rows) if matrix is None else len(matrix)) if kept is None else kept.mean(axis=1)


class RuleUse(NamedTuple):
    """How much of an update was used."""

    share: float
    """Summed over its numbers."""
    numbers: int


def use_of(rule: Telling, used: Sequence[Used]) -> dict[str, RuleUse]:
    """By child, how much a rule has used of its update, over all names. A child that the rule trusts is not judged."""
    found: dict[str, RuleUse] = {}
    for rows, matrix in used:
        if not (len(rows) and rows.size):
            continue
        for child, share in zip(rows.children, shares_of(rule, rows, matrix).tolist(), strict=True):
            if child != rule.trusted:
                before = found.get(child, RuleUse(0.0, 0))
                found[child] = RuleUse(before.share + rows.size * share, before.numbers + rows.size)
    return found


def scores_of(uses: Sequence[Mapping[str, RuleUse]]) -> dict[str, float]:
    """By child, how much of its update was used, beside the usual: the median over all of them; 1 is that or more.

    Where fewer than half are used, nothing is said of the others: all have 1.

    Args:
        uses: of the pieces that a model was worked on in.
    """
    shares: dict[str, float] = {}
    for child in dict.fromkeys(child for use in uses for child in use):
        parts = [use[child] for use in uses if child in use]
        shares[child] = sum(part.share for part in parts) / max(1, sum(part.numbers for part in parts))
    usual = float(np.median(list(shares.values()))) if shares else 0.0
    return {child: min(share / usual, 1.0) if usual > 0.0 else 1.0 for child, share in shares.items()}

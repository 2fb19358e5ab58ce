"""Rounds of the policy ``rotation`` that will find too few children whose turn it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fogline.aggregation.rules import Rule
from fogline.jobs.tree import PERIOD, Tier, Tree
from fogline.nodes.policies.rotation import turn_of


class _Shortage(NamedTuple):
    """An aggregator of which some rounds lack children."""

    node: str
    children: int
    turns: int
    """Rounds of each period that lack some."""
    fewest: int
    """Children whose turn it is in the worst of them."""
    quorum: int


def too_few_turns(tree: Tree, rules: Mapping[str, Rule], clients: Sequence[str], homes: Sequence[str]) -> list[str]:
    """What people should know of rounds that are known to come to nothing: a sentence a tier.

    Args:
        tree: the job's.
        rules: of its tiers, by name.
        clients: devices by name.
        homes: the aggregator above each.
    """
    children: defaultdict[str, list[str]] = defaultdict(list)
    for child, parent in [*zip(clients, homes, strict=True), *tree.parents().items()]:
        if parent is not None:
            children[parent].append(child)
    notes: list[str] = []
    for name, tier in tree.tiers.items():
        if tier.policy != "rotation":
            continue
        short = [one for node in tree.nodes(name) if (one := _shortage(tier, rules[name], node, children[node]))]
        if short:
            notes.append(_said(name, tier, short))
    return notes


def _shortage(tier: Tier, rule: Rule, node: str, children: Sequence[str]) -> _Shortage | None:
    cohort = max(tier.cohort_of(len(children)), rule.least)
    quorum = max(tier.quorum_of(cohort), rule.least)
    there = _by_turn(children, _period(tier))
    lacking = [count for count in there if count < quorum]
    return _Shortage(node, len(children), len(lacking), min(lacking), quorum) if lacking else None


def _by_turn(children: Iterable[str], period: int) -> list[int]:
    """How many have their turn in each round of a period."""
    count = Counter(turn_of(child, period) for child in children)
    return [count[turn] for turn in range(period)]


def _period(tier: Tier) -> int:
    return int(tier.policy_parameters.get("period", PERIOD))


def _said(name: str, tier: Tier, short: Sequence[_Shortage]) -> str:
    worst = max(short, key=lambda one: (one.turns, -one.fewest))
    others = f", and {len(short) - 1} more of {name} likewise" if len(short) > 1 else ""
    return (
        f"Of every {_period(tier)} rounds of {worst.node}, {worst.turns} will come to nothing: {name}.policy is "
        f"'rotation', which then has as few as {worst.fewest} of its {worst.children} children to ask, and the quorum "
        f"is {worst.quorum}{others}; make {name}.policy_parameters.period or {name}.quorum smaller, or give an "
        "aggregator more children"
    )

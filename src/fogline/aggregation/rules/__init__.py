"""Rules: how an aggregator makes one of its children's updates. One file a rule."""

from fogline.aggregation.geometry import Geometry, Mixture, average, selection
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.chain import Chain
from fogline.aggregation.rules.registry import RULES, check_rule, make_rule, rule_name

__all__ = [
    "RULES",
    "Chain",
    "Geometry",
    "Mixture",
    "Rule",
    "average",
    "check_rule",
    "make_rule",
    "rule_name",
    "selection",
]

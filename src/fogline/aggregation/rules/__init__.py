"""Rules: how an aggregator makes one of its children's updates. One file a rule."""

from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES, check_rule, make_rule, rule_name

__all__ = ["RULES", "Rule", "check_rule", "make_rule", "rule_name"]

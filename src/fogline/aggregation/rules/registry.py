"""Rules by name, and how one is made of the text in a job: ``trimmed_mean(0.1)``."""

from __future__ import annotations

import inspect

from fogline.aggregation.rules.base import Rule
from fogline.factories import Factory
from fogline.plugins import nearest


def _check(kind: type[Rule]) -> None:
    wanted = "def combine(self, block, weights)"
    if RULES.name_of(kind) is None and kind.combine is Rule.combine and kind.fold is Rule.fold:
        near = next((f"; it has '{name}'" for name in vars(kind) if nearest(name, ["combine"])), "")
        raise ValueError(f"{kind.__name__} has no combine{near}; write: {wanted}")
    try:
        inspect.signature(kind.combine).bind("self", "block", "weights")
    except TypeError as error:
        raise ValueError(f"{kind.__name__}.combine cannot be called ({error}); write: {wanted}") from error


RULES = Factory("rule", "fogline.aggregation.rules", Rule, first="mean", check=_check)
"""Fogline's rules."""


def make_rule(text: str) -> Rule:
    """The rule that a text names, by its registered name or as ``module:Class``, with its parameters in brackets.

    Raises:
        ValueError: there is no such rule or parameter, or a value is wrong; one sentence.
    """
    return RULES.read(text)


def check_rule(rule: Rule) -> Rule:
    """The rule, unless it cannot be called, or says nothing of its own: it would be the mean.

    Raises:
        ValueError: one sentence that names the class.
    """
    _check(type(rule))
    return rule


def rule_name(rule: Rule, own: str) -> str:
    """The text that names a rule; ``own``: its class as ``module:Class``, where it is not one of Fogline's."""
    return RULES.text_of(rule, own)

"""Rules by name, and how one is made of what a job says: ``trimmed_mean(0.1)``, or a list of such texts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.chain import Chain
from fogline.factories import Factory
from fogline.plugins import nearest

HOOKS = {"combine": ("block", "weights"), "mix": ("updates",)}
"""What a rule may override, and what it is called with."""


def _check(kind: type[Rule]) -> None:
    if RULES.name_of(kind) is None and not kind.needs_all and kind.fold is Rule.fold:
        own = (name for name in vars(kind) if name not in vars(Rule))
        near = next((f"; it has '{name}'" for name in own if nearest(name, HOOKS)), "")
        raise ValueError(f"{kind.__name__} has no combine and no mix{near}; write: {' or: '.join(map(_wanted, HOOKS))}")
    for hook, arguments in HOOKS.items():
        try:
            inspect.signature(getattr(kind, hook)).bind("self", *arguments)
        except TypeError as error:
            raise ValueError(f"{kind.__name__}.{hook} cannot be called ({error}); write: {_wanted(hook)}") from error


def _wanted(hook: str) -> str:
    return f"def {hook}({', '.join(('self', *HOOKS[hook]))})"


RULES = Factory("rule", "fogline.aggregation.rules", Rule, first="mean", check=_check)
"""Fogline's rules."""


def make_rule(given: str | Rule | Sequence[str | Rule]) -> Rule:
    """The rule that a text names, by its registered name or as ``module:Class``, with its parameters in brackets; of
    several, one that works them off in order.

    Raises:
        ValueError: there is no such rule or parameter, a value is wrong, or they do not go together; one sentence.
    """
    if isinstance(given, Rule):
        return check_rule(given)
    if isinstance(given, str):
        return RULES.read(given)
    links = tuple(make_rule(one) for one in given)
    if not links:
        raise ValueError("The list of rules is empty; name one, or leave rule out")
    return links[0] if len(links) == 1 else Chain(links)


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

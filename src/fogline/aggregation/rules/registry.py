"""Rules by name, and how one is made of what a job says: ``trimmed_mean(0.1)``, or a list of such texts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any

from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.chain import Chain
from fogline.parameters import fitting
from fogline.plugins import Registry, nearest, read_call, suggest

RULES = Registry[type[Rule]]("rule", "fogline.aggregation.rules", first="mean")
"""Fogline's rules."""
HOOKS = {"combine": ("block", "weights"), "mix": ("updates",)}
"""What a rule may override, and what it is called with."""


def make_rule(given: str | Rule | Sequence[str | Rule]) -> Rule:
    """The rule that a text names, by its registered name or as ``module:Class``, with its parameters in brackets; of
    several, one that works them off in order.

    Raises:
        ValueError: there is no such rule or parameter, a value is wrong, or they do not go together; one sentence.
    """
    if isinstance(given, Rule):
        return check_rule(given)
    if isinstance(given, str):
        return _named(given)
    links = tuple(make_rule(one) for one in given)
    if not links:
        raise ValueError("The list of rules is empty; name one, or leave rule out")
    return links[0] if len(links) == 1 else Chain(links)


def _named(text: str) -> Rule:
    call = read_call(text)
    kind = _imported(call.name) if ":" in call.name else RULES.find(call.name).thing
    _check_kind(kind)
    known = {field.name: field for field in fields(kind)}
    for name in call.named:
        if name not in known:
            raise ValueError(
                f"The rule '{call.name}' has no parameter '{name}'{suggest(name, known) or '; it has none'}"
            )
    try:
        bound = inspect.signature(kind).bind(*call.values, **call.named)
        for name in bound.arguments.keys() & known.keys():
            bound.arguments[name] = fitting(f"rule '{call.name}'", known[name], bound.arguments[name])
        return kind(*bound.args, **bound.kwargs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The rule '{text}' cannot be made: {error}") from error


def check_rule(rule: Rule) -> Rule:
    """The rule, unless it cannot be called, or says nothing of its own: it would be the mean.

    Raises:
        ValueError: one sentence that names the class.
    """
    _check_kind(type(rule))
    return rule


def _check_kind(kind: type[Rule]) -> None:
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


def rule_name(rule: Rule, own: str) -> str:
    """The text that names a rule; ``own``: its class as ``module:Class``, where it is not one of Fogline's."""
    given = ", ".join(f"{field.name}={getattr(rule, field.name)!r}" for field in fields(rule))
    name = RULES.name_of(type(rule)) or own
    return f"{name}({given})" if given else name


def _imported(name: str) -> type[Rule]:
    module, _, path = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"The rule '{name}' cannot be imported: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Rule)):
        raise ValueError(f"'{name}' is no subclass of fogline.aggregation.rules.Rule.")
    return found

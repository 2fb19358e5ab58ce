"""Exchanges by name, and how one is made of its parameters."""

from __future__ import annotations

import inspect
from typing import Any

from fogline.exchanges.base import Exchange
from fogline.plugins import Registry, suggest
from fogline.training.own_classes import own_class

EXCHANGES = Registry[type[Exchange]]("exchange", "fogline.exchanges")
"""Fogline's own."""


def make_exchange(name: str, /, **parameters: Any) -> Exchange:
    """An exchange by name, or by ``module:Class``, with its parameters.

    Raises:
        ValueError: there is no such exchange or parameter, or its class is not what an exchange must be.
    """
    kind = _find(name)
    steps: Any = getattr(kind, "steps", ())
    if not (isinstance(steps, tuple) and steps and all(isinstance(step, str) for step in steps)):
        raise ValueError(f"The exchange '{name}' names no steps; it needs steps = (\"first\", ...).")
    if missing := sorted(kind.__abstractmethods__):
        raise ValueError(f"The exchange '{name}' does not define {', '.join(missing)}.")
    taken = inspect.signature(kind).parameters
    for parameter in parameters:
        if parameter not in taken:
            hint = suggest(parameter, taken) or "; it takes none"
            raise ValueError(f"The exchange '{name}' takes no parameter '{parameter}'{hint}")
    lacks = [key for key, one in taken.items() if one.default is one.empty and key not in parameters]
    if lacks:
        raise ValueError(f"The exchange '{name}' wants a value for {', '.join(lacks)}.")
    return kind(**parameters)


def name_of(exchange: Exchange) -> str:
    """How a job names an exchange: as it is registered, or as ``module:Class``."""
    kind = type(exchange)
    return EXCHANGES.name_of(kind) or f"{kind.__module__}:{kind.__qualname__}"


def _find(name: str) -> type[Exchange]:
    return own_class(name, "exchange", Exchange) if ":" in name else EXCHANGES.find(name).thing

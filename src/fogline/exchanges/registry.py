"""Exchanges by name, and how one is made of its parameters."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

from fogline.exchanges.base import Exchange
from fogline.parameters import fitting
from fogline.plugins import Registry, read_call, suggest
from fogline.training.own_classes import own_class

EXCHANGES = Registry[type[Exchange]]("exchange", "fogline.exchanges")
"""Fogline's own."""


def make_exchange(text: str, /, **parameters: Any) -> Exchange:
    """An exchange by name, or by ``module:Class``, with its parameters, which may also stand in brackets behind it:
    ``secagg(threshold=0.7)``.

    Raises:
        ValueError: there is no such exchange or parameter, a value makes no sense, or its class is not what an exchange
            must be.
    """
    name, unnamed, named = read_call(text)
    if unnamed:
        raise ValueError(f"Give the parameters of the exchange '{name}' their names: {name}(key=value).")
    parameters = named | parameters
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
    known = {field.name: field for field in fields(kind)}
    return kind(**{key: fitting(f"exchange '{name}'", known[key], value) for key, value in parameters.items()})


def name_of(exchange: Exchange) -> str:
    """How a job names an exchange: as it is registered, or as ``module:Class``."""
    kind = type(exchange)
    return EXCHANGES.name_of(kind) or f"{kind.__module__}:{kind.__qualname__}"


def _find(name: str) -> type[Exchange]:
    return own_class(name, "exchange", Exchange) if ":" in name else EXCHANGES.find(name).thing

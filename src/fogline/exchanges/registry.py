"""Exchanges by name, and how one is made of its parameters."""

from __future__ import annotations

from typing import Any

from fogline.exchanges.base import Exchange, check_exchange
from fogline.factories import Factory
from fogline.plugins import read_call

EXCHANGES = Factory("exchange", "fogline.exchanges", Exchange, check=check_exchange)
"""Fogline's own."""


def make_exchange(text: str, /, **parameters: Any) -> Exchange:
    """An exchange by name, or by ``module:Class``, with its parameters, which may also stand in brackets behind it:
    ``secagg(threshold=0.7)``.

    Raises:
        ValueError: there is no such exchange or parameter, a value makes no sense, or its class is not what an exchange
            must be; or a parameter is given twice.
    """
    call = read_call(text)
    twice = sorted(call.named.keys() & parameters.keys())
    if twice:
        raise ValueError(
            f"Parameter '{twice[0]}' of exchange '{call.name}' is given twice, in the brackets of '{text}' too."
        )
    return EXCHANGES.make(call.name, *call.values, **{**call.named, **parameters})


def name_of(exchange: Exchange) -> str:
    """How a job names an exchange: as it is registered, or as ``module:Class``."""
    kind = type(exchange)
    return EXCHANGES.name_of(kind) or f"{kind.__module__}:{kind.__qualname__}"

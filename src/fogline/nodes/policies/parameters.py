"""Checks of the parameters that policies take from a job."""

from __future__ import annotations

import math

from fogline.nodes.policies.base import SelectionPolicyError


def number(name: str, value: object, low: float, high: float = math.inf) -> float:
    """``value`` as a number between ``low`` and ``high``, both allowed.

    Raises:
        SelectionPolicyError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        reach = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise SelectionPolicyError(f"'{name}' must be a number {reach}, not {value!r}.")
    return float(value)


def count(name: str, value: object, low: int = 1) -> int:
    """``value`` as a whole number of at least ``low``.

    Raises:
        SelectionPolicyError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise SelectionPolicyError(f"'{name}' must be a whole number of at least {low}, not {value!r}.")
    return value


def choice(name: str, value: object, known: tuple[str, ...]) -> str:
    """``value`` as one of the ``known`` words.

    Raises:
        SelectionPolicyError: it is none.
    """
    if value not in known:
        raise SelectionPolicyError(f"'{name}' must be one of {', '.join(known)}, not {value!r}.")
    return str(value)

"""Durations in commands."""

from __future__ import annotations

from fogline.cli.failures import UsageError
from fogline.jobs.units import seconds


def duration(option: str, text: str) -> float:
    """Seconds, from what an option was given.

    Raises:
        UsageError: it is no time.
    """
    try:
        wait = seconds(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    if not isinstance(wait, float) or wait < 0:
        raise UsageError(f"{option}: '{text}' is no time; write one such as 30s, 10min or 6h")
    return wait

"""Quantities as people write them: ``"10s"``, ``"5min"``, ``"10Mbit"``."""

from __future__ import annotations

import re

TIMES = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> object:
    """A duration in seconds from a number or from text with a unit; other values pass through.

    Raises:
        ValueError: the text is no number with a known unit.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([a-z]*)\s*", value)
    if match is None or (match[2] or "s") not in TIMES:
        raise ValueError(f"'{value}' is no duration; write a number of seconds or one with {', '.join(TIMES)}")
    return float(match[1]) * TIMES[match[2] or "s"]

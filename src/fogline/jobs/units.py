"""Quantities as people write them: ``"10s"``, ``"5min"``, ``"2GB"``."""

from __future__ import annotations

import re

SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
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


def size(value: object) -> object:
    """A number of bytes from a number or from text with a unit; other values pass through.

    Raises:
        ValueError: the text is no number with a known unit.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in SIZES:
        raise ValueError(f"'{value}' is no size; write a number of bytes or one such as 512MB or 2GB")
    return int(float(match[1]) * SIZES[match[2].upper()])

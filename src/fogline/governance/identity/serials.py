"""Serial numbers of certificates: the moment at which the membership began, and chance.

All certificates of one membership, the first and its renewals, begin with the same moment. So a membership can be ended
for good, whatever certificates of it are about, and a new token begins another one.
"""

from __future__ import annotations

import secrets

CHANCE = 80
"""Bits that nobody can guess."""


def new_serial(since: int) -> int:
    """A serial number of a membership that began at that moment (milliseconds of Unix time)."""
    return (since << CHANCE) | secrets.randbits(CHANCE)


def member_since(serial: str) -> int:
    """When the membership of a certificate began, in milliseconds of Unix time, by its serial number (hexadecimal)."""
    return int(serial, 16) >> CHANCE


def milliseconds(now: float) -> int:
    """Unix time in whole milliseconds."""
    return int(now * 1000)

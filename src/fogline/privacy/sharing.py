"""Sharing a secret so that any few of many can find it, and fewer learn nothing (Shamir, 1979).

A secret of 32 bytes is the value at 0 of a random polynomial over the integers modulo a prime just above 2^256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from fogline.privacy.masks import BLOCK, Stream

PRIME = 2**256 + 297
SECRET = 32
"""Bytes of a secret,"""
SHARE = 33
"""and of a share of it."""
DRAW = 48
"""Random bytes of a coefficient: reduced modulo the prime they are uniform up to 2^-127."""


def split(secret: bytes, threshold: int, points: Sequence[int], key: bytes) -> list[bytes]:
    """A share, (33,) bytes, for each point.

    Args:
        secret: 32 bytes.
        threshold: shares that are needed to find it; at least 1.
        points: different whole numbers above 0.
        key: 32 bytes that decide the polynomial, for this secret and these points only.
    """
    polynomial = [int.from_bytes(secret, "big"), *_coefficients(key, threshold - 1)]
    return [_value(polynomial, point).to_bytes(SHARE, "big") for point in points]


def combine(shares: Mapping[int, bytes]) -> bytes | None:
    """The secret, 32 bytes, from exactly as many shares as the threshold; None where they come to none.

    Wrong shares mostly come to a wrong secret, so the caller must know what it should be.

    Args:
        shares: by their points.
    """
    weights = _weights(tuple(shares))
    found = sum(weight * int.from_bytes(share, "big") for weight, share in zip(weights, shares.values(), strict=True))
    found %= PRIME
    return found.to_bytes(SECRET, "big") if found < 1 << 8 * SECRET else None


def _coefficients(key: bytes, count: int) -> list[int]:
    stream, most = Stream(key), BLOCK // DRAW
    found: list[int] = []
    while len(found) < count:
        drawn = stream.take(DRAW * min(most, count - len(found))).tobytes()
        found += [int.from_bytes(drawn[i : i + DRAW], "big") % PRIME for i in range(0, len(drawn), DRAW)]
    return found


def _value(polynomial: Sequence[int], point: int) -> int:
    """Points are small, so that reducing once at the end is faster than at every step."""
    value = 0
    for coefficient in reversed(polynomial):
        value = value * point + coefficient
    return value % PRIME


@lru_cache(maxsize=256)
def _weights(points: tuple[int, ...]) -> tuple[int, ...]:
    """What the value at each point counts for the value at 0 (Lagrange)."""
    weights: list[int] = []
    for point in points:
        above = below = 1
        for other in points:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)

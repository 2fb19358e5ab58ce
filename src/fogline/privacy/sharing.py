"""Sharing a secret so that any few of many can find it, and fewer learn nothing (Shamir, 1979).

A secret of 32 bytes is cut into pieces of 30 bits, and each piece is the value at 0 of a random polynomial over the
integers modulo 2^31 - 1, in which NumPy multiplies many at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fogline.privacy.masks import BLOCK, Stream

PRIME = 2**31 - 1
SECRET = 32
"""Bytes of a secret."""
PIECES, PIECE = 9, 30
"""Pieces of a secret, and bits of each."""
HALF = 16
"""Bits of a number modulo the prime, about half of them."""
SHARE = 4 * PIECES
"""Bytes of a share."""
Shares = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint64]


def split(secret: bytes, threshold: int, points: Sequence[int], key: bytes) -> Shares:
    """A share for each point, (points, 36).

    Args:
        secret: 32 bytes.
        threshold: shares that are needed to find it; at least 1 and at most 2^16.
        points: different whole numbers above 0 and below 2^31 - 1.
        key: 32 bytes that decide the polynomials, for this secret and these points only.
    """
    whole = int.from_bytes(secret, "big")
    pieces = [whole >> PIECE * i & (1 << PIECE) - 1 for i in range(PIECES)]
    polynomials = np.concatenate([np.array([pieces], np.uint64), _random(key, threshold - 1)])
    powers = _powers(tuple(points), threshold)
    # Halves of a coefficient, so that the sums of up to 2^16 products have room in 64 bits.
    high, low = powers @ (polynomials >> HALF), powers @ (polynomials & (1 << HALF) - 1)
    values = ((high % PRIME << HALF) + low) % PRIME
    return values.astype("<u4").view(np.uint8)


def combine(points: Sequence[int], shares: Shares) -> bytes | None:
    """The secret, 32 bytes, from exactly as many shares as the threshold; None where they come to none.

    Wrong shares mostly come to a wrong secret, so the caller must know what it should be.

    Args:
        points: of the shares.
        shares: (points, 36).
    """
    numbers = np.ascontiguousarray(shares).view("<u4").astype(np.uint64)
    weights = np.array(_weights(tuple(points)), np.uint64)[:, None]
    pieces = (weights * (numbers % PRIME) % PRIME).sum(axis=0) % PRIME
    whole = sum(int(piece) << PIECE * i for i, piece in enumerate(pieces))
    return whole.to_bytes(SECRET, "big") if int(pieces.max()) >> PIECE == 0 and whole >> 8 * SECRET == 0 else None


@lru_cache(maxsize=4)
def _powers(points: tuple[int, ...], count: int) -> Numbers:
    """The powers of each point from 0 on, modulo the prime, (points, count)."""
    powers, at = np.ones((len(points), count), np.uint64), np.array(points, np.uint64)
    done, next_ = 1, at[:, None] % PRIME
    while done < count:  # As many again, by the power that comes next.
        more = min(done, count - done)
        powers[:, done : done + more] = powers[:, :more] * next_ % PRIME
        done, next_ = done + more, next_ * next_ % PRIME
    return powers


def _random(key: bytes, count: int) -> Numbers:
    """Numbers modulo the prime, each as likely, (count, PIECES)."""
    stream, wanted, parts = Stream(key), count * PIECES, [np.zeros(0, np.uint64)]
    while wanted > 0:
        drawn = stream.take(min(BLOCK, 4 * wanted)).view("<u4") & PRIME
        fit = drawn[drawn < PRIME].astype(np.uint64)  # All but one in two thousand million.
        parts.append(fit)
        wanted -= fit.size
    return np.concatenate(parts).reshape(count, PIECES)


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

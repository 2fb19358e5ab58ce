"""Where chance comes from: a cipher's stream on real nodes, a seeded generator in simulations."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.unsignedinteger[Any]]


class Source(Protocol):
    """Random bits, of which none is given twice."""

    def words(self, count: int) -> Words:
        """The next words of 64 bits, (count,)."""
        ...


class Seeded:
    """Random bits that a seed decides, for simulations: who knows the seed knows them.

    Args:
        parts: the seed, and what these bits are for; others give others.
    """

    def __init__(self, *parts: object) -> None:
        digest = blake2b(repr(parts).encode(), digest_size=32).digest()
        self._generator = np.random.PCG64(int.from_bytes(digest, "little"))

    def words(self, count: int) -> Words:
        """The next words of 64 bits, (count,)."""
        return self._generator.random_raw(count)


def keyed(key: bytes) -> Source:
    """Random bits that a key of 32 bytes decides, for this source only: who does not know it cannot tell them from
    chance (ChaCha20). It needs the package ``cryptography``."""
    from fogline.privacy.masks import Stream  # Not above: simulations do without ciphers.

    return Stream(key)


def secret() -> Source:
    """Random bits that nobody knows, this program included: under a key of the operating system's."""
    return keyed(secrets.token_bytes(32))

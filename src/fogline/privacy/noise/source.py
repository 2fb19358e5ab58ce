"""Random numbers that a key decides: a stream cipher (ChaCha20), and what is made of its bits.

On real nodes the key comes from the operating system's secrets, in a simulation from the job's seed; nothing else
differs between the two.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from fogline.privacy.agreement import derive
from fogline.privacy.masks import BLOCK, Stream

KEY = 32
"""Bytes of a key."""
STEP = BLOCK // 8
"""Words that are made at once."""


class Source:
    """Random numbers, always the same ones for one key.

    Args:
        key: 32 bytes, for this source only.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._stream = Stream(key)

    def of(self, *purpose: bytes) -> Source:
        """A source of its own for that purpose, whatever was drawn here; other purposes tell nothing of it."""
        return Source(derive(self._key, "noise", *purpose))

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """The next words of 64 random bits, (count,)."""
        words = np.empty(count, np.uint64)
        for low in range(0, count, STEP):
            part = words[low : low + STEP]
            part[:] = self._stream.take(part.nbytes).view("<u8")
        return words


def seeded_key(*context: object) -> bytes:
    """The key of a simulated node: anybody who knows the job's seed can make it, so that a run can be repeated."""
    return blake2b("/".join(map(str, context)).encode(), digest_size=KEY).digest()

"""What the devices of a round have in common, and nobody else: a secret of the group, and the key that it locks.

Whatever a device opens is a sum in which every number carries a blind of each member; devices alone can make these, and
take off those of the members that they were told of. So an aggregator that has something else opened than their sum (a
single update, a multiple, other parts) is given random numbers.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fogline.exchanges.base import ExchangeError
from fogline.exchanges.secagg.packing import Bytes, as_bytes
from fogline.exchanges.secagg.roster import TAG, bound
from fogline.privacy.agreement import derive, seal, unseal
from fogline.privacy.ckks import SLOTS, CkksError, CkksKey, Words, rows_of
from fogline.privacy.masks import add_masks


@dataclass(frozen=True)
class CipherGroup:
    """One round's.

    Args:
        context: of the round.
        secret: 32 bytes.
        key: what :func:`fogline.privacy.ckks.make_key` has made.
    """

    context: bytes
    secret: bytes
    key: bytes

    def locked(self) -> Bytes:
        """The key, for those who have the secret."""
        return as_bytes(seal(derive(self.secret, "lock", self.context), self.key, self.context, 0))

    @classmethod
    def unlocked(cls, context: bytes, secret: bytes, locked: bytes) -> CipherGroup:
        """That of a secret and what is locked with it.

        Raises:
            ExchangeError: it does not open.
        """
        key = unseal(derive(secret, "lock", context), locked, context, 0)
        if key is None:
            raise ExchangeError("The key that the aggregator hands on does not open with the secret of the group.")
        return cls(context, secret, key)

    def encrypted(self, words: Words, purpose: str, member: int) -> Bytes:
        """Words of a member with its blinds, (rows, ROW).

        Args:
            words: (n,).
            purpose: of what they are; each has blinds of its own.
            member: whose they are.
        """
        blinded = np.zeros((rows_of(words.size), SLOTS), "<i4")
        blinded.reshape(-1)[: words.size] = words
        self._blind(blinded, range(len(blinded)), purpose, [member], off=False)
        return self._ckks.encrypt(blinded.reshape(-1))

    def opened(self, rows: Bytes, parts: Sequence[int], purpose: str, members: Iterable[int]) -> Words:
        """The sum of these members' words, (rows, SLOTS).

        Args:
            rows: (rows, ROW).
            parts: which of the ciphertexts they are.
            purpose: of what.
            members: in the sum.

        Raises:
            ExchangeError: they do not open.
        """
        try:
            words = self._ckks.open(rows).astype("<i4")  # They wrap around, as the blinds do.
        except CkksError as error:
            raise ExchangeError(f"A part of the sum does not open: {error}") from error
        self._blind(words, parts, purpose, members, off=True)
        return words

    def word(self, purpose: str, member: int, said: bytes) -> Bytes:
        """What a member says, (16,), under a key that only devices have."""
        key = derive(self.secret, purpose, self.context)
        return as_bytes(hmac.digest(key, bound(self.context, member, member) + said, "sha256")[:TAG])

    @cached_property
    def _ckks(self) -> CkksKey:
        try:
            return CkksKey(self.key)
        except CkksError as error:
            raise ExchangeError(f"The key of the group is none: {error}") from error

    def _blind(self, words: Words, parts: Sequence[int], purpose: str, members: Iterable[int], off: bool) -> None:
        secrets = [derive(self.secret, f"blind {purpose}", bound(self.context, each, each)) for each in members]
        for row, part in zip(words, parts, strict=True):
            add_masks((row,), [(derive(secret, "part", part.to_bytes(4, "big")), off) for secret in secrets])

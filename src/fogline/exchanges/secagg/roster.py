"""The members of a round: all know the same list, and from it what the round's keys are bound to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from fogline.exchanges.base import ExchangeError
from fogline.exchanges.secagg.packing import Bytes, as_bytes
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.privacy.agreement import derive

ENTRY = 32
"""Bytes of a member's entry."""
TAG = 16
"""Bytes by which a share, or a word, is known again."""
OWN_MASK, MASK_KEY = 0, 1
"""The two secrets that a device shares: what its own mask is made of, and its key for those that it has with others."""


def entry_of(name: bytes, keys: Bytes, layout: bytes) -> bytes:
    """A member's entry: what it is called, its two public keys, (2, 32), and the layout of its update."""
    return sha256(len(name).to_bytes(4, "big") + name + keys.tobytes() + layout).digest()


@dataclass(frozen=True)
class KeyRoster:
    """The entries of all members, (n, 32), in the order of their numbers."""

    settings: SecAggSettings
    entries: Bytes

    @property
    def members(self) -> int:
        """How many there are."""
        return len(self.entries)

    @cached_property
    def context(self) -> bytes:
        """32 bytes that no other round has: every honest member brings fresh keys."""
        return sha256(self.settings.text + self.entries.tobytes()).digest()

    def number_of(self, entry: bytes) -> int:
        """Which member one is.

        Raises:
            ExchangeError: it is not among them, or more than once.
        """
        found = np.flatnonzero((self.entries == as_bytes(entry)).all(axis=1))
        if len(found) != 1:
            raise ExchangeError(f"The aggregator's list has this device {len(found)} times.")
        return int(found[0])


def bound(context: bytes, sender: int, receiver: int) -> bytes:
    """What a text from one member to another is bound to."""
    return context + sender.to_bytes(4, "big") + receiver.to_bytes(4, "big")


def tag_of(context: bytes, dealer: int, holder: int, kind: int, share: bytes) -> bytes:
    """By what a share is known again, (16,) bytes, by those who have not seen it. It tells nothing of it: a share is
    as random as a key.

    Args:
        context: of the round.
        dealer: whose secret it is.
        holder: who keeps it.
        kind: which of its two secrets.
        share: of it.
    """
    return sha256(b"share" + bound(context, dealer, holder) + bytes([kind]) + share).digest()[:TAG]


def seed_check(context: bytes, number: int, seed: bytes) -> bytes:
    """By what the seed of a member's own mask is known again, (32,) bytes."""
    return sha256(b"seed" + bound(context, number, number) + seed).digest()


def own_mask_stream(seed: bytes, context: bytes) -> bytes:
    """The key of a member's own mask, (32,) bytes."""
    return derive(seed, "own mask", context)


def mask_stream(shared: bytes, context: bytes) -> bytes:
    """The key of the mask that two members have, (32,) bytes, from what their fresh keys agree on."""
    return derive(shared, "mask", context)

"""Merkle trees over a list that only grows, and proofs about them (RFC 9162, section 2.1).

All hashes are SHA-256. A leaf and an inner node are hashed under different prefixes, so that neither can be shown as
the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

HASH_BYTES = 32
EMPTY = hashlib.sha256().digest()
"""Root of the tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf (32 bytes)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (32 bytes)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleFrontier:
    """The roots of the full subtrees at a growing tree's right edge: enough to append, and to know the tree's root.

    Args:
        size: leaves that the tree has.
        peaks: the subtrees' roots from left to right, one for each 1 in the binary digits of ``size``.

    Raises:
        ValueError: these are not the peaks of a tree of that size.
    """

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)
        if size < 0 or len(self._peaks) != size.bit_count() or any(len(one) != HASH_BYTES for one in self._peaks):
            raise ValueError(f"a tree of {size} leaves does not have these {len(self._peaks)} peaks")

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The subtrees' roots, from left to right."""
        return tuple(self._peaks)

    @property
    def root(self) -> bytes:
        """The whole tree's."""
        if not self._peaks:
            return EMPTY
        root = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            root = node_hash(peak, root)
        return root

    def append(self, leaf: bytes) -> None:
        """Add a leaf's hash at the right."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            size >>= 1
        self._peaks.append(leaf)
        self.size += 1


class MerkleTree:
    """A whole tree, for proofs: n leaves take 64 n bytes.

    Args:
        leaves: their hashes.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            above = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
            # The last of an odd number stands for itself one level up.
            self._levels.append(above + below[2 * len(above) :])

    @property
    def root(self) -> bytes:
        """The whole tree's."""
        return self._levels[-1][0] if self.size else EMPTY

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        """The proof that a leaf is in this tree.

        Raises:
            IndexError: there is no such leaf.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"a tree of {self.size} leaves has no leaf {index}")
        path: list[bytes] = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index >>= 1
        return tuple(path)

    def consistency(self, earlier: int) -> tuple[bytes, ...]:
        """The proof that the tree of the first ``earlier`` leaves is the beginning of this one.

        Raises:
            IndexError: this tree never had that size.
        """
        if not 0 <= earlier <= self.size:
            raise IndexError(f"a tree of {self.size} leaves never had {earlier}")
        return tuple(self._split(earlier, 0, self.size, True)) if 0 < earlier < self.size else ()

    def _split(self, earlier: int, start: int, size: int, known: bool) -> list[bytes]:
        """``known``: whether the verifier has the root of the first ``earlier`` leaves from ``start`` on already."""
        if earlier == size:
            return [] if known else [self._subtree(start, size)]
        left = 1 << ((size - 1).bit_length() - 1)
        if earlier <= left:
            return [*self._split(earlier, start, left, known), self._subtree(start + left, size - left)]
        return [*self._split(earlier - left, start + left, size - left, False), self._subtree(start, left)]

    def _subtree(self, start: int, size: int) -> bytes:
        level = (size - 1).bit_length()
        return self._levels[level][start >> level]


def includes(root: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether a proof shows that the tree of ``size`` leaves with that root has ``leaf`` (a hash) at ``index``."""
    if not 0 <= index < size:
        return False
    here, last = index, size - 1
    for sibling in path:
        if last == 0:
            return False
        if here & 1 or here == last:
            leaf = node_hash(sibling, leaf)
            here, last = _to_left_child(here, last)
        else:
            leaf = node_hash(leaf, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and leaf == root


def extends(earlier_root: bytes, earlier: int, root: bytes, size: int, path: Sequence[bytes]) -> bool:
    """Whether a proof shows that a tree of ``size`` leaves begins with the earlier one of ``earlier`` leaves."""
    if earlier == 0:
        return not path and earlier_root == EMPTY
    if earlier == size:
        return not path and earlier_root == root
    if not 0 < earlier < size or not path:
        return False
    steps = list(path)
    if earlier & (earlier - 1) == 0:
        steps.insert(0, earlier_root)
    here, last = earlier - 1, size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            before, after = node_hash(step, before), node_hash(step, after)
            here, last = _to_left_child(here, last)
        else:
            after = node_hash(after, step)
        here, last = here >> 1, last >> 1
    return last == 0 and before == earlier_root and after == root


def _to_left_child(here: int, last: int) -> tuple[int, int]:
    """Up to where the node stops being the last of its level, alone: such a node has the same hash above."""
    while here and not here & 1:
        here, last = here >> 1, last >> 1
    return here, last

"""A node's audit log while the node runs: records are added in order, and kept in the node's database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from fogline.governance.audit_log.heads import AuditHead
from fogline.governance.audit_log.merkle import MerkleFrontier, MerkleTree, leaf_hash
from fogline.governance.audit_log.records import START, Fact, decode_record, encode_record
from fogline.governance.errors import AuditLogError
from fogline.storage import Database

STREAM = "audit log"
KIND, FRONTIER = "audit log", "frontier"
SAVED = 4096
"""Records after which the frontier is kept again: who opens the log reads no more than these."""


class _Frontier(msgspec.Struct, frozen=True):
    size: int
    peaks: tuple[bytes, ...]
    last: str


FRONTIERS = msgspec.msgpack.Decoder(_Frontier)


class AuditLog:
    """Adds records, and tells how many there are and what their tree's root is. Any thread may use it.

    Args:
        node: whose log it is.
        database: the node's.
        clock: gives Unix time.

    Raises:
        AuditLogError: what is in the database is no log any more.
        StorageError: it cannot be read.
    """

    def __init__(self, node: str, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.node = node
        self._database = database
        self._clock = clock
        self._adding, self._writing = threading.Lock(), threading.Lock()
        self._tree, self._last = MerkleFrontier(), START
        self._waiting: list[bytes] = []
        self._open()
        self._written = self._saved = self._tree.size

    @property
    def size(self) -> int:
        """Records that are durable."""
        return self._written

    def add(self, what: str, by: str, about: str, **facts: Fact) -> int:
        """Add a record, which :meth:`write` makes durable; its number.

        Args:
            what: such as ``job.submitted``.
            by: who did it, by name.
            about: what it was done to: a job, a node, a model's version.
            facts: anything else that is worth proving later; never data, weights or secrets.

        Raises:
            AuditLogError: it is longer than a record may be.
        """
        with self._adding:
            number = self._tree.size
            line = encode_record(number, self._clock(), what, by, about, facts, self._last)
            self._take(line)
            self._waiting.append(line)
            return number

    def write(self) -> None:
        """Make durable what was added: all of it together, or, where that fails, with the next call.

        Raises:
            StorageError: the database does not take it.
        """
        with self._writing:
            with self._adding:
                lines, self._waiting = self._waiting, []
                frontier = _Frontier(self._tree.size, self._tree.peaks, self._last)
            try:
                if lines:
                    self._database.append(STREAM, lines)
            except BaseException:
                with self._adding:
                    self._waiting[:0] = lines
                raise
            self._written = frontier.size
            if frontier.size >= self._saved + SAVED:
                self._database.put(KIND, FRONTIER, msgspec.msgpack.encode(frontier))
                self._saved = frontier.size

    def head(self) -> AuditHead:
        """The log as far as it was added to."""
        with self._adding:
            return AuditHead(self.node, self._tree.size, self._tree.root, self._clock())

    def lines(self, size: int) -> Iterator[bytes]:
        """The first ``size`` records, as they are kept; fewer where fewer are durable."""
        return islice(self._database.read(STREAM), size)

    def tree(self, size: int) -> MerkleTree:
        """The tree over the first ``size`` records, for proofs: they are all read.

        Raises:
            AuditLogError: there are not so many.
            StorageError: they cannot be read.
        """
        leaves = [leaf_hash(line) for line in self.lines(size)]
        if len(leaves) < size:
            raise AuditLogError(f"The audit log of {self.node} has {len(leaves)} records, not {size}.")
        return MerkleTree(leaves)

    def _take(self, line: bytes) -> None:
        leaf = leaf_hash(line)
        self._tree.append(leaf)
        self._last = leaf.hex()

    def _open(self) -> None:
        kept = self._database.get(KIND, FRONTIER)
        if kept is not None:
            frontier = FRONTIERS.decode(kept)
            self._tree, self._last = MerkleFrontier(frontier.size, frontier.peaks), frontier.last
        for line in self._database.read(STREAM, self._tree.size):
            record = decode_record(line)
            if (record.number, record.before) != (self._tree.size, self._last):
                raise AuditLogError(
                    f"The audit log of {self.node} was changed at record {self._tree.size}, which does not follow from "
                    f"the one before it: put the newest backup of {self._database.where} back."
                )
            self._take(line)

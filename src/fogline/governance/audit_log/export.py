"""An audit log as a file that anybody can check, and what the check finds.

The first line says whose log it is, with the signed head; every other line is a record as the log has it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.audit_log.audit_log import AuditLog
from fogline.governance.audit_log.heads import AuditHead, read_audit_head, sign_audit_head
from fogline.governance.audit_log.merkle import MerkleFrontier, leaf_hash
from fogline.governance.audit_log.records import LARGEST, START, AuditRecord, decode_record
from fogline.governance.errors import AuditLogError
from fogline.storage import Database
from fogline.storage.atomic import replacing

if TYPE_CHECKING:
    from fogline.governance.identity.credentials import Credentials

FORMAT = 1
ANCHORED = "audit.anchored"
"""A record that another node's log had this head."""
MOST = 20
"""Sentences of a kind that are told."""


class _FirstLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    head: bytes


class Anchor(msgspec.Struct, frozen=True):
    """What a log says of another's: so many records, with that root."""

    node: str
    size: int
    root: str
    """In hexadecimal."""
    witness: str
    """Whose log says so."""
    number: int
    """Of the record there."""


class CheckedLog(msgspec.Struct, frozen=True):
    """A log that was checked."""

    head: AuditHead
    damage: tuple[str, ...]
    """Sentences on what does not hold in itself; none if all does."""
    forks: tuple[str, ...]
    """Sentences on where it is not the log that others have seen; none if it is."""
    anchors: tuple[Anchor, ...]
    """What it says of other logs."""

    @property
    def problems(self) -> tuple[str, ...]:
        """All that does not hold."""
        return (*self.damage, *self.forks)


def export_log(path: Path, database: Database, node: Credentials) -> AuditHead:
    """Write the file of a node's log as it is in its database, and sign its head, which is returned.

    Raises:
        AuditLogError: what is in the database is no log any more.
        StorageError: it cannot be read.
        OSError: the disk or the folder does not allow it.
    """
    log = AuditLog(node.subject.name, database)
    head = log.head()
    write_export(path, sign_audit_head(head, node), log.lines(head.size))
    return head


def write_export(path: Path, head: bytes, lines: Iterable[bytes]) -> None:
    """Write a log's file.

    Args:
        path: what to write.
        head: the head that its node has signed.
        lines: the records up to that head.

    Raises:
        OSError: the disk or the folder does not allow it.
    """
    with exporting(path) as add:
        add(head, lines)


@contextmanager
def exporting(path: Path) -> Generator[Callable[[bytes, Iterable[bytes]], None]]:
    """What adds to a log's file, which is there when the block ends: the head, or nothing, and the next records.

    Raises:
        OSError: the disk or the folder does not allow it.
    """
    with replacing(path) as file:

        def add(head: bytes, lines: Iterable[bytes]) -> None:
            if head:
                file.write(msgspec.json.encode(_FirstLine(FORMAT, head)) + b"\n")
            for line in lines:
                file.write(line + b"\n")

        yield add


def read_export(path: Path) -> tuple[bytes, Iterator[bytes]]:
    """A log's signed head, and its records line by line. Nothing is checked yet.

    Raises:
        AuditLogError: it is no such file, or of another format.
        OSError: it cannot be read.
    """
    lines = _lines(path)
    line = next(lines, b"")
    try:
        first = msgspec.json.decode(line, type=_FirstLine)
    except UNREADABLE:
        raise AuditLogError(f"{path} is no export of an audit log.") from None
    if first.format != FORMAT:
        raise AuditLogError(f"{path} has format {first.format}; this Fogline reads {FORMAT}.")
    if msgspec.json.encode(first) != line:
        raise AuditLogError(f"The first line of {path} was changed.")
    return first.head, lines


def read_export_head(path: Path, root: bytes) -> AuditHead:
    """The head of a log's file, which its node has signed; the records are not looked at.

    Raises:
        AuditLogError: the file has no head that its node has signed.
        OSError: it cannot be read.
    """
    return read_audit_head(read_export(path)[0], root)


def check_export(
    path: Path, root: bytes, witnesses: Iterable[CheckedLog] = (), shown: AuditHead | None = None
) -> CheckedLog:
    """Check a log from its first record to its head, and against what other logs say of it.

    Args:
        path: its export.
        root: the authority's certificate (PEM).
        witnesses: other logs, checked.
        shown: a head of the same log, or of another's, as another export has it.

    Raises:
        AuditLogError: the file has no head that its node has signed.
        OSError: it cannot be read.
    """
    signed, lines = read_export(path)
    head = read_audit_head(signed, root)
    witnesses = tuple(witnesses)
    heads = [log.head for log in witnesses] + ([] if shown is None else [shown])
    told = [one for log in witnesses for one in log.anchors if one.node == head.node and one.size]
    told += [_anchor_at(one) for one in heads if one.node == head.node and 0 < one.size <= head.size]
    walk = _Walk(head.node, sorted(told, key=lambda one: one.size))
    for line in lines:
        walk.step(line)
    return CheckedLog(head, (*walk.problems, *walk.ending(head)), (*walk.forks, *walk.short()), tuple(walk.anchors))


def _anchor_at(head: AuditHead) -> Anchor:
    """What a log was when another export of it was made."""
    return Anchor(head.node, head.size, head.root.hex(), "", head.size)


def anchor_of(record: AuditRecord, witness: str) -> Anchor | None:
    """What a record says of another's log; None if it says nothing of the kind."""
    size, root = record.facts.get("size"), record.facts.get("root")
    if record.what != ANCHORED or not isinstance(size, int) or not isinstance(root, str):
        return None
    return Anchor(record.about, size, root, witness, record.number)


class _Walk:
    """Goes through the records once, with the tree so far and the anchors that are still to come."""

    def __init__(self, node: str, told: list[Anchor]) -> None:
        self._node = node
        self.problems: list[str] = []
        self.forks: list[str] = []
        self.anchors: list[Anchor] = []
        self._tree, self._last = MerkleFrontier(), START
        self._told = told
        for one, other in pairwise(told):
            if one.size == other.size and one.root != other.root:
                self._accuse(f"{_said(one)}, and {_said(other)}, with another root: it was shown in two versions.")

    def step(self, line: bytes) -> None:
        number = self._tree.size
        try:
            record = decode_record(line)
        except AuditLogError:
            self._say(f"Record {number} is no record.")
        else:
            self._look_at(number, record)
        leaf = leaf_hash(line)
        self._tree.append(leaf)
        self._last = leaf.hex()
        while self._told and self._told[0].size <= self._tree.size:
            anchor = self._told.pop(0)
            if self._tree.root.hex() != anchor.root:
                self._accuse(f"{_said(anchor)} with another root: what stands before that was changed since.")

    def _look_at(self, number: int, record: AuditRecord) -> None:
        if record.number != number:
            self._say(f"Record {number} says that it is record {record.number}: records were taken away, or moved.")
        if record.before != self._last:
            self._say(f"Record {number} does not follow from the one before it: one of them was changed.")
        anchor = anchor_of(record, self._node)
        if anchor is not None:
            self.anchors.append(anchor)

    def ending(self, head: AuditHead) -> list[str]:
        """What does not hold once all records were seen."""
        if self._tree.size != head.size:
            return [f"The head is signed over {head.size} records, and there are {self._tree.size}."]
        return ["The records are not those over which the head was signed."] if self._tree.root != head.root else []

    def short(self) -> list[str]:
        """Where others have seen more of it than there is."""
        advice = "If it was exported before that, export it anew."
        return [f"{_said(anchor)}, and it has {self._tree.size} now. {advice}" for anchor in self._told[:MOST]]

    def _say(self, problem: str) -> None:
        if len(self.problems) < MOST:
            self.problems.append(problem)

    def _accuse(self, fork: str) -> None:
        if len(self.forks) < MOST:
            self.forks.append(fork)


def _said(anchor: Anchor) -> str:
    if not anchor.witness:
        return f"Another export says that this log had {anchor.size} records"
    return f"Record {anchor.number} of {anchor.witness}'s log says that this one had {anchor.size} records"


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(2 * LARGEST):
            yield line.removesuffix(b"\n")

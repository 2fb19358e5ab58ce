"""What stands in an audit log: who did what to what; never data, weights or secrets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import AuditLogError

LARGEST = 16 * 1024
"""Bytes of a record."""
START = "0" * 64
"""What the first record has in place of the hash of the one before it."""
Fact = str | int | float | bool | tuple[str, ...]


class AuditRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that was decided or done."""

    number: int
    """In its log, from 0."""
    at: float
    """Unix time, by the clock of the node."""
    what: str
    """Such as ``job.submitted``."""
    by: str
    """Who did it: a person, a node or a signing key, by name."""
    about: str
    """What it was done to: a job, a node, a model's version."""
    facts: dict[str, Fact]
    """Anything else that is worth proving later."""
    before: str
    """Hash of the record before it, as a leaf of the tree, in hexadecimal."""


ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(AuditRecord)


def encode_record(
    number: int, at: float, what: str, by: str, about: str, facts: Mapping[str, Fact], before: str
) -> bytes:
    """A record as its log keeps it: JSON in one line.

    Raises:
        AuditLogError: it is longer than a record may be.
    """
    line = ENCODER.encode(AuditRecord(number, at, what, by, about, dict(facts), before))
    if len(line) > LARGEST:
        raise AuditLogError(f"A record of the audit log may have {LARGEST} bytes; this one, '{what}', has {len(line)}.")
    return line


def decode_record(line: bytes) -> AuditRecord:
    """The record of a line.

    Raises:
        AuditLogError: it is none.
    """
    try:
        return DECODER.decode(line)
    except UNREADABLE:
        raise AuditLogError("A line of the audit log is no record.") from None

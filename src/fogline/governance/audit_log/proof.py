"""The proof that one record stands in a log, without the log."""

from __future__ import annotations

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.audit_log.heads import AuditHead, read_audit_head
from fogline.governance.audit_log.merkle import MerkleTree, includes, leaf_hash
from fogline.governance.audit_log.records import AuditRecord, decode_record
from fogline.governance.errors import AuditLogError

LARGEST = 256 * 1024
"""Bytes of a proof."""


class InclusionProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record, the hashes beside its way up the tree, and the head in which they end."""

    record: str
    """As the log has it."""
    path: tuple[bytes, ...]
    head: bytes


def prove_record(number: int, lines: list[bytes], head: bytes) -> bytes:
    """The proof (JSON) of one of the records below a head.

    Args:
        number: of the record.
        lines: all records up to the head.
        head: as its node signed it.

    Raises:
        AuditLogError: there is no such record, or that line is none.
    """
    if not 0 <= number < len(lines):
        there = f"records 0 to {len(lines) - 1}, and" if lines else "no records, so"
        raise AuditLogError(f"The log has {there} no record {number}.")
    decode_record(lines[number])
    path = MerkleTree([leaf_hash(line) for line in lines]).inclusion(number)
    return msgspec.json.encode(InclusionProof(lines[number].decode(), path, head))


def check_record(proof: bytes, root: bytes) -> tuple[AuditRecord, AuditHead]:
    """The record that a proof proves, and the head of the log that it stands in.

    Args:
        proof: what :func:`prove_record` gave.
        root: the authority's certificate (PEM).

    Raises:
        AuditLogError: it proves nothing.
    """
    try:
        said = msgspec.json.decode(proof, type=InclusionProof)
    except UNREADABLE:
        raise AuditLogError("This is no proof of a record.") from None
    head, line = read_audit_head(said.head, root), said.record.encode()
    record = decode_record(line)
    if not includes(head.root, head.size, record.number, leaf_hash(line), said.path):
        raise AuditLogError(
            f"The proof does not hold: the log of {head.node} does not have this record {record.number}."
        )
    return record, head

"""What a node signs of its audit log: how many records there are, and the root of the tree over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import AuditLogError, CertificateError
from fogline.governance.identity.statements import body_of, make_statement, speaker_of

if TYPE_CHECKING:
    from fogline.governance.identity.credentials import Credentials

PURPOSE = b"fogline head of an audit log, version 1\n"


class AuditHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log up to a record."""

    node: str
    """Whose log it is."""
    size: int
    """Records."""
    root: bytes
    """Of the Merkle tree over them (32 bytes)."""
    at: float
    """Unix time, by the clock of the node."""


HEAD = msgspec.msgpack.Decoder(AuditHead)


def sign_audit_head(head: AuditHead, node: Credentials) -> bytes:
    """A head with its node's signature and certificate."""
    return make_statement(PURPOSE, msgspec.msgpack.encode(head), node)


def read_audit_head(data: bytes, root: bytes) -> AuditHead:
    """The head that the node whose log it is has signed, with whatever certificate it had then.

    Args:
        data: what :func:`sign_audit_head` gave.
        root: the authority's certificate (PEM).

    Raises:
        AuditLogError: it is none, or that node has not signed it.
    """
    head = claimed_head(data)
    if head is None:
        raise AuditLogError("This is no head of an audit log.")
    try:
        speaker = speaker_of(data, PURPOSE, root)
    except CertificateError as error:
        raise AuditLogError(f"A head of an audit log does not hold: {error}") from None
    if speaker.name != head.node:
        raise AuditLogError(f"A head of {head.node}'s audit log was signed by {speaker.name}.")
    return head


def claimed_head(data: bytes) -> AuditHead | None:
    """What a head says, whoever signed it; None if it is none."""
    try:
        return HEAD.decode(body_of(data) or b"")
    except UNREADABLE:
        return None

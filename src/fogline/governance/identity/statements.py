"""What a node says under its own signature, with the certificate that it had then: others keep it, and prove it later.

Certificates are renewed, so a statement brings its own; it was good when it was made if the authority issued it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import CertificateError
from fogline.governance.subject import Subject

if TYPE_CHECKING:
    from fogline.governance.identity.credentials import Credentials

LARGEST = 64 << 10
"""Bytes of a statement at most."""


class Statement(msgspec.Struct, frozen=True):
    """A body of bytes, and who signed it."""

    body: bytes
    certificate: bytes
    """Of the node (PEM)."""
    signature: bytes


STATEMENT = msgspec.msgpack.Decoder(Statement)


def make_statement(purpose: bytes, body: bytes, node: Credentials) -> bytes:
    """A node's statement.

    Args:
        purpose: what it is about; nothing that is signed for another purpose can be shown as this.
        body: what it says.
        node: who says it.
    """
    from fogline.governance.identity.proofs import signed

    return msgspec.msgpack.encode(Statement(body, node.certificate, signed(node, purpose + body)))


def body_of(statement: bytes) -> bytes | None:
    """What a statement says, whoever signed it; None if it is none."""
    said = _read(statement)
    return None if said is None else said.body


def speaker_of(statement: bytes, purpose: bytes, root: bytes) -> Subject:
    """Which node made a statement, with whatever certificate it had then.

    Args:
        statement: what :func:`make_statement` gave.
        purpose: what it must be about.
        root: the authority's certificate (PEM).

    Raises:
        CertificateError: it is no statement, or no node of that authority made it.
    """
    from fogline.governance.identity.certificates import check_issued, read_certificate
    from fogline.governance.identity.proofs import check_signed_by

    said = _read(statement)
    if said is None:
        raise CertificateError("It is no statement of a node.")
    if msgspec.msgpack.encode(said) != statement:
        raise CertificateError("A node's statement was changed.")
    facts = check_issued(said.certificate, root, read_certificate(said.certificate).starts)
    check_signed_by(said.certificate, said.signature, purpose + said.body)
    return facts.subject


def _read(statement: bytes) -> Statement | None:
    try:
        return STATEMENT.decode(statement)
    except UNREADABLE:
        return None

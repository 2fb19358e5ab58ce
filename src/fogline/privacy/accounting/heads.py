"""The end of a ledger, signed by the node whose it is: others keep the newest, so that a ledger never gets younger.

A node's folder may be put back to an old backup, or be copied; then the ledger in it ends before what its own
signature, which its parents hold, says that was given away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fogline.privacy.accounting.events import Event, Unit
from fogline.privacy.accounting.ledger import PrivacyLedger

if TYPE_CHECKING:
    from fogline.governance.identity.credentials import Credentials

PURPOSE = b"fogline end of a ledger of privacy, version 1\n"
LARGEST = 64 << 10
"""Bytes of a signed one at most."""


class LedgerHead(msgspec.Struct, frozen=True):
    """The end of a ledger."""

    node: str
    """Whose it is."""
    number: int
    digest: str
    unit: Unit
    """See :attr:`PrivacyLedger.unit`."""
    events: tuple[Event, ...]
    """What the owner has given away over all jobs, in as few events as say it."""

    @classmethod
    def of(cls, ledger: PrivacyLedger, node: str) -> LedgerHead:
        """The end of a ledger as it stands."""
        from fogline.privacy.accounting.tally import tally

        return cls(node, ledger.number, ledger.digest, ledger.unit, tuple(tally(ledger.events()).events()))


class _Signed(msgspec.Struct, frozen=True):
    head: bytes
    certificate: bytes
    """Of the node (PEM)."""
    signature: bytes


HEAD = msgspec.msgpack.Decoder(LedgerHead)
SIGNED = msgspec.msgpack.Decoder(_Signed)


def sign_head(head: LedgerHead, node: Credentials) -> bytes:
    """A head with the node's signature and certificate."""
    from fogline.governance.identity.proofs import signed

    body = msgspec.msgpack.encode(head)
    return msgspec.msgpack.encode(_Signed(body, node.certificate, signed(node, PURPOSE + body)))


def read_head(data: bytes) -> LedgerHead | None:
    """What a head says, whoever signed it; None if it is none."""
    try:
        return HEAD.decode(SIGNED.decode(data).head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def verified_head(data: bytes, root: bytes) -> LedgerHead | None:
    """A head that the node whose it is has signed, with whatever certificate it had then; None if it has not.

    Args:
        data: what :func:`sign_head` gave.
        root: the authority's certificate (PEM).
    """
    from fogline.governance.errors import CertificateError
    from fogline.governance.identity.certificates import check_issued, read_certificate
    from fogline.governance.identity.proofs import check_signed_by

    head = read_head(data)
    if head is None:
        return None
    signed = SIGNED.decode(data)
    try:
        facts = check_issued(signed.certificate, root, read_certificate(signed.certificate).starts)
        check_signed_by(signed.certificate, signed.signature, PURPOSE + signed.head)
    except CertificateError:
        return None
    return head if facts.subject.name == head.node else None

"""The end of a ledger, signed by the node whose it is: others keep the newest, so that a ledger never gets younger.

A node's folder may be put back to an old backup, or be copied; then the ledger in it ends before what its own
signature, which its parents hold, says that was given away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import CertificateError
from fogline.governance.identity.statements import body_of, make_statement, speaker_of
from fogline.privacy.accounting.events import Event, Unit
from fogline.privacy.accounting.ledger import Limit, PrivacyLedger

if TYPE_CHECKING:
    from fogline.governance.identity.credentials import Credentials

PURPOSE = b"fogline end of a ledger of privacy, version 1\n"


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
    limit: Limit | None = None
    """What the owner allowed over all jobs when this was signed, for people to see; None: as much as jobs ask for, or
    it was signed by a version of Fogline that did not say."""

    @classmethod
    def of(cls, ledger: PrivacyLedger, node: str, limit: Limit | None = None) -> LedgerHead:
        """The end of a ledger as it stands."""
        from fogline.privacy.accounting.tally import tally

        return cls(node, ledger.number, ledger.digest, ledger.unit, tuple(tally(ledger.events()).events()), limit)


HEAD = msgspec.msgpack.Decoder(LedgerHead)


def sign_head(head: LedgerHead, node: Credentials) -> bytes:
    """A head with the node's signature and certificate."""
    return make_statement(PURPOSE, msgspec.msgpack.encode(head), node)


def read_head(data: bytes) -> LedgerHead | None:
    """What a head says, whoever signed it; None if it is none."""
    body = body_of(data)
    try:
        return None if body is None else HEAD.decode(body)
    except UNREADABLE:
        return None


def verified_head(data: bytes, root: bytes) -> LedgerHead | None:
    """A head that the node whose it is has signed, with whatever certificate it had then; None if it has not.

    Args:
        data: what :func:`sign_head` gave.
        root: the authority's certificate (PEM).
    """
    head = read_head(data)
    try:
        return head if head is not None and speaker_of(data, PURPOSE, root).name == head.node else None
    except CertificateError:
        return None

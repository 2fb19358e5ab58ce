"""What a node shows to others: its key and certificate. That they hold was checked elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fogline.governance.subject import Subject

KEY, CERTIFICATE, ROOT = "key.pem", "certificate.pem", "root.pem"
NEXT_CERTIFICATE = "certificate.next.pem"
SKEW = 600.0
"""Seconds that certificates hold from before they are issued: clocks of nodes may be behind by that much."""
REST = 0.1
"""Share of a certificate's life that passes between two renewals at least, whatever a clock says."""
LARGEST = 16 * 1024
"""Bytes of a file of an identity; ours have about 900."""


class CertificateFacts(msgspec.Struct, frozen=True):
    """What a certificate says of its holder, and until when it holds."""

    subject: Subject
    serial: str
    """In hexadecimal."""
    starts: float
    """Unix time from which it holds."""
    expires: float
    """Unix time up to which it holds."""
    key_hash: str
    """See :func:`fogline.governance.identity.certificates.key_hash_of`."""


@dataclass(frozen=True)
class Credentials:
    """Who this node is, and the bytes that prove it."""

    folder: Path
    facts: CertificateFacts
    key: bytes = field(repr=False)
    """Private key, PEM. It goes into TLS and nowhere else."""
    certificate: bytes = field(repr=False)
    """Certificate, PEM."""
    root: bytes = field(repr=False)
    """Certificate (PEM) of the authority: whom this node trusts."""

    @property
    def subject(self) -> Subject:
        """Who the node is, as its certificate says."""
        return self.facts.subject

    @property
    def serial(self) -> str:
        """The certificate's number, in hexadecimal."""
        return self.facts.serial

    @property
    def expires(self) -> float:
        """Unix time at which the certificate ends."""
        return self.facts.expires

    @property
    def renew_at(self) -> float:
        """Unix time from which the node should ask for a new certificate: two thirds of its life."""
        return self.expires - self.life / 3

    @property
    def life(self) -> float:
        """Seconds for which the certificate holds, from when it was issued."""
        return self.expires - self.facts.starts - SKEW

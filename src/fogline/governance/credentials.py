"""What a node shows to others: its key and certificate, read without the library that can check them.

Checking is done once for a certificate, by :class:`fogline.governance.identity.Identity`; what it said is kept beside
it with the certificate's hash. TLS checks again at every handshake. A device, which has little memory, gets by with
this module until it has to join, to renew, or to verify a bundle.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fogline.governance.safe_files import PUBLIC, read_bounded, write_atomic
from fogline.governance.subject import Subject

KEY, CERTIFICATE, ROOT, CHECKED = "key.pem", "certificate.pem", "root.pem", "checked.json"
NEXT_CERTIFICATE = "certificate.next.pem"
LARGEST = 16 * 1024
"""Bytes of a file of an identity; ours have about 900."""


class CertificateFacts(msgspec.Struct, frozen=True):
    """What a certificate says."""

    subject: Subject
    serial: str
    """In hexadecimal."""
    starts: float
    """Unix time from which it holds."""
    expires: float
    """Unix time up to which it holds."""
    key_hash: str
    """See :func:`key_hash_of`."""


class _Checked(msgspec.Struct, frozen=True):
    sha256: str
    """Of key, certificate and root, one after the other."""
    facts: CertificateFacts


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
        """Who this node is."""
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
        return self.facts.starts + (self.facts.expires - self.facts.starts) * 2 / 3


def credentials(folder: Path, now: float | None = None) -> Credentials:
    """The identity of a folder, as :meth:`Identity.load` gives it, and with its errors; quicker and smaller where it
    was checked before."""
    try:
        files = [read_bounded(folder / name, LARGEST) for name in (KEY, CERTIFICATE, ROOT)]
        checked = msgspec.json.decode((folder / CHECKED).read_bytes(), type=_Checked)
    except (OSError, msgspec.DecodeError):
        return _check(folder, now)
    if checked.sha256 != _hash(files) or (folder / NEXT_CERTIFICATE).exists():
        return _check(folder, now)
    if (time.time() if now is None else now) >= checked.facts.expires:
        return _check(folder, now)  # It says so in its words.
    return Credentials(folder, checked.facts, *files)


def _check(folder: Path, now: float | None) -> Credentials:
    from fogline.governance.identity import Identity

    identity = Identity.load(folder, now)
    files = [(folder / name).read_bytes() for name in (KEY, CERTIFICATE, ROOT)]
    write_atomic(folder / CHECKED, msgspec.json.encode(_Checked(_hash(files), identity.facts)), PUBLIC)
    return identity


def _hash(files: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files)).hexdigest()

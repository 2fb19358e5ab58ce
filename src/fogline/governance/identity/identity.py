"""A node's identity: a key that never leaves its folder, and the certificate that the authority gave for it.

The folder holds ``key.pem``, ``certificate.pem`` and ``root.pem``. A new key waits as ``key.next.pem`` until its
certificate arrives. Then ``root.next.pem`` and, last, ``certificate.next.pem`` are put beside it: from that moment
on the new three count, and whoever opens the folder next finishes the renaming. So a crash at any point leaves a
pair that works.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fogline.governance.errors import (
    CertificateError,
    EarlyIdentityError,
    ExpiredIdentityError,
    IdentityError,
    NoIdentityError,
)
from fogline.governance.identity.certificates import (
    UNREADABLE,
    CertificateFacts,
    check_issued,
    day,
    key_hash_of,
    parse_certificate,
    read_certificate,
)
from fogline.governance.identity.credentials import CERTIFICATE, KEY, LARGEST, NEXT_CERTIFICATE, ROOT, Credentials
from fogline.governance.safe_files import (
    make_private_folder,
    read_bounded,
)
from fogline.governance.subject import Subject
from fogline.storage.atomic import PRIVATE, PUBLIC, write_file
from fogline.storage.files import sync_folder

NEXT_KEY, NEXT_ROOT = "key.next.pem", "root.next.pem"
TOO_OPEN = 0o027
"""Whoever else may read the key could be the node; a group may read it, since containers mount secrets so."""


@dataclass(frozen=True)
class Identity(Credentials):
    """Who this node is, checked. Get one with :meth:`load`."""

    @staticmethod
    def create_key(folder: Path) -> NewKey:
        """A new key that waits for its certificate; the one that waits already, if there is one.

        It serves the first join and every renewal. An identity that is in the folder stays in use meanwhile.

        Raises:
            IdentityError: the folder cannot be read or written.
        """
        try:
            make_private_folder(folder)
            _finish_install(folder)
            if not (folder / NEXT_KEY).exists():
                write_file(folder / NEXT_KEY, _new_key(), PRIVATE)
            return NewKey(folder, _read_key(folder / NEXT_KEY))
        except OSError as error:
            raise IdentityError(f"A key cannot be kept in {folder}: {error.strerror}.") from error

    @classmethod
    def load(cls, folder: Path, now: float | None = None) -> Identity:
        """The identity of a folder.

        Args:
            folder: where :meth:`NewKey.install` put it.
            now: Unix time; None asks the clock.

        Raises:
            NoIdentityError: there is none.
            UntimelyIdentityError: its certificate has expired, or does not hold yet.
            IdentityError: its files are damaged, do not belong together, or others can read the key.
        """
        try:
            _finish_install(folder)
            if not (folder / CERTIFICATE).exists():
                raise NoIdentityError(f"There is no identity in {folder}; run: fogline join TOKEN")
            key = _read_key(folder / KEY)
            certificate = read_bounded(folder / CERTIFICATE, LARGEST)
            root = read_bounded(folder / ROOT, LARGEST)
        except OSError as error:
            raise IdentityError(f"The identity in {folder} cannot be read: {error.strerror}.") from error
        facts = _check(folder, key, certificate, root, time.time() if now is None else now)
        return cls(folder, facts, _pem(key), certificate, root)


class NewKey:
    """A key that waits for its certificate. Get one with :meth:`Identity.create_key`."""

    def __init__(self, folder: Path, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder = folder
        self._key = key

    def __repr__(self) -> str:
        return f"NewKey({str(self.folder)!r})"

    @property
    def key_hash(self) -> str:
        """SHA-256 of the public key, in hexadecimal."""
        return key_hash_of(self._key.public_key())

    def csr(self) -> bytes:
        """The request (PEM) for a certificate, to be sent to the authority. It proves that the key is here."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def install(
        self, certificate: bytes, root: bytes, subject: Subject | None = None, now: float | None = None
    ) -> Identity:
        """Make the key and its certificate this node's identity, in place of what was there.

        Args:
            certificate: what the authority issued, PEM.
            root: the authority's own certificate, PEM; the caller trusts it.
            subject: whom the certificate must speak for; None takes any.
            now: Unix time; None asks the clock.

        Raises:
            IdentityError: the certificate is not for this key, not signed by the root, expired or for someone
                else, or the folder cannot be written. Nothing has changed then.
        """
        try:
            facts = check_issued(certificate, root, time.time() if now is None else now)
        except CertificateError as error:
            raise IdentityError(f"The certificate is not installed: {error}") from None
        if facts.key_hash != self.key_hash:
            raise IdentityError("The certificate is not installed: it is for another key than this node's.")
        if subject not in (None, facts.subject):
            raise IdentityError(f"The certificate is not installed: it is for {facts.subject.uri}.")
        try:
            self._check_waiting()
            # The key is there already; the certificate is the sign that all three are, so it comes last.
            write_file(self.folder / NEXT_ROOT, _normal(root), PUBLIC)
            write_file(self.folder / NEXT_CERTIFICATE, _normal(certificate), PUBLIC)
            _finish_install(self.folder)
        except OSError as error:
            raise IdentityError(f"The certificate cannot be written to {self.folder}: {error.strerror}.") from error
        return Identity.load(self.folder, now)

    def _check_waiting(self) -> None:
        """Refuse if another process has made another key meanwhile: the certificate would not fit it."""
        waiting = self.folder / NEXT_KEY
        kept = _read_key(waiting if waiting.exists() else self.folder / KEY)
        if key_hash_of(kept.public_key()) != self.key_hash:
            raise IdentityError(f"Another key was made in {self.folder} meanwhile; ask for a certificate for that one.")


def _finish_install(folder: Path) -> None:
    """Do the renames of an installation that is decided; each may have been done before a crash."""
    if not (folder / NEXT_CERTIFICATE).exists():
        return
    for waiting, final in ((NEXT_KEY, KEY), (NEXT_ROOT, ROOT)):
        if (folder / waiting).exists():
            os.replace(folder / waiting, folder / final)
    # Both must be on disk before the sign that they are due disappears.
    sync_folder(folder)
    os.replace(folder / NEXT_CERTIFICATE, folder / CERTIFICATE)
    sync_folder(folder)


def _check(
    folder: Path, key: ec.EllipticCurvePrivateKey, certificate: bytes, root: bytes, now: float
) -> CertificateFacts:
    try:
        facts = read_certificate(certificate)
        if facts.key_hash != key_hash_of(key.public_key()):
            raise IdentityError(f"In {folder}, {KEY} does not belong to {CERTIFICATE}; join again: fogline join TOKEN")
        if now >= facts.expires:
            raise ExpiredIdentityError(
                f"The identity of {facts.subject.name} in {folder} expired on {day(facts.expires)}; join again: "
                f"fogline join TOKEN, or set this machine's clock right, which shows {day(now)}"
            )
        if now < facts.starts:
            raise EarlyIdentityError(
                f"The identity of {facts.subject.name} in {folder} holds from {day(facts.starts)} on; this machine's "
                f"clock shows {day(now)}: set it right"
            )
        return check_issued(certificate, root, now)
    except CertificateError as error:
        raise IdentityError(f"The identity in {folder} cannot be used: {error}") from None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & TOO_OPEN:
        raise IdentityError(f"Others can read or change {path} (mode {mode:04o}); run: chmod 600 {path}")
    try:
        key = load_pem_private_key(read_bounded(path, LARGEST), password=None)
    except UNREADABLE:
        raise IdentityError(f"{path} is damaged; delete it and join again: fogline join TOKEN") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(f"{path} holds no P-256 key; delete it and join again: fogline join TOKEN")
    return key


def _new_key() -> bytes:
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _normal(certificate: bytes) -> bytes:
    """The certificate alone, without what may stand around it."""
    return parse_certificate(certificate).public_bytes(Encoding.PEM)

"""The cloud's certificate authority: it says which key speaks for which node."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from fogline.governance.errors import AuthorityError, CertificateError, SignatureError
from fogline.governance.identity.certificates import LARGEST, UNREADABLE, p256_key, parse_certificate
from fogline.governance.identity.credentials import SKEW
from fogline.governance.identity.serials import milliseconds, new_serial
from fogline.governance.safe_files import make_private_folder, read_bounded
from fogline.governance.signatures.envelope import parse_envelope, signed_bytes
from fogline.governance.subject import Role, Subject, check_name
from fogline.storage.atomic import PRIVATE, PUBLIC, write_file

KEY_FILE = "authority-key.pem"
ROOT_FILE = "root.pem"
ROOT_DAYS = 3653
SERVERS: frozenset[Role] = frozenset(("fog", "cloud"))
"""Roles that others dial. No other role's certificate is good for a server, whatever name it carries."""


class Authority:
    """Holds the key that signs the nodes' certificates. Make one with :meth:`create` or :meth:`load`."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, root: x509.Certificate) -> None:
        self._key = key
        self._root = root

    def __repr__(self) -> str:
        return f"Authority({self._root.subject.rfc4514_string()!r})"

    @property
    def root_pem(self) -> bytes:
        """The certificate (PEM) that every node trusts; it is no secret."""
        return self._root.public_bytes(Encoding.PEM)

    @classmethod
    def create(cls, folder: Path, name: str = "fogline", now: float | None = None) -> Authority:
        """Make a new authority in a folder; its root holds for ten years.

        Args:
            folder: where its files lie; made if need be.
            name: what people see in the root certificate.
            now: Unix time; None asks the clock.

        Raises:
            AuthorityError: there is one already, or the folder cannot be written.
            ValueError: the name cannot be used.
        """
        check_name(name)
        if (folder / ROOT_FILE).exists():
            raise AuthorityError(f"{folder} holds an authority already; nodes trust it, so it is not replaced.")
        key = ec.generate_private_key(ec.SECP256R1())
        authority = cls(key, _root(key, name, _time(now)))
        try:
            make_private_folder(folder)
            # The root comes last: a key without a root has signed nothing and may be replaced.
            write_file(folder / KEY_FILE, _private_pem(key), PRIVATE)
            write_file(folder / ROOT_FILE, authority.root_pem, PUBLIC)
        except OSError as error:
            raise AuthorityError(f"The authority cannot be written to {folder}: {error.strerror}.") from error
        return authority

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """The authority of a folder.

        Raises:
            AuthorityError: there is none, or its files cannot be used.
        """
        if not (folder / ROOT_FILE).exists():
            raise AuthorityError(f"There is no authority in {folder}; make one with: fogline cloud init")
        try:
            root = parse_certificate(read_bounded(folder / ROOT_FILE, LARGEST), str(folder / ROOT_FILE))
            key = load_pem_private_key(read_bounded(folder / KEY_FILE, LARGEST), password=None)
            matches = isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == root.public_key()
        except OSError as error:
            raise AuthorityError(f"The authority in {folder} cannot be read: {error.strerror}.") from error
        except UNREADABLE:
            raise AuthorityError(f"The files of the authority in {folder} are damaged; restore its backup.") from None
        if not matches or not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"In {folder}, {KEY_FILE} does not belong to {ROOT_FILE}; restore its backup.")
        return cls(key, root)

    def issue(
        self, request: bytes, subject: Subject, days: float, now: float | None = None, since: int | None = None
    ) -> bytes:
        """A certificate (PEM) for the key of a request. What else the request asks for is ignored.

        Args:
            request: certificate signing request, PEM.
            subject: whom the certificate speaks for; the caller has checked that it may.
            days: how long it holds; never longer than the root.
            now: Unix time; None asks the clock.
            since: when the membership began (milliseconds of Unix time), for a renewal; None: it begins now.

        Raises:
            CertificateError: the request cannot be read, is not signed by its own key, or its key is not on P-256.
            ValueError: days is not above 0.
        """
        if not days > 0:
            raise ValueError(f"days is {days}; a certificate must hold for more than 0")
        key = key_of_request(request)
        start = _time(now)
        end = min(start + timedelta(days=min(days, ROOT_DAYS)), self._root.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common_name(subject.name))
            .issuer_name(self._root.subject)
            .public_key(key)
            .serial_number(new_serial(milliseconds(start.timestamp()) if since is None else since))
            .not_valid_before(min(start, end) - timedelta(seconds=SKEW))
            .not_valid_after(end)
        )
        for extension, critical in _leaf_extensions(subject, key, self._key.public_key()):
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def sign(self, message: bytes) -> bytes:
        """The authority's signature (ECDSA, SHA-256) under a message that nothing else could mean."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


def open_signed(envelope: bytes, payload_type: str, root: bytes) -> bytes:
    """The payload of an envelope that an authority signed (with :meth:`Authority.sign`).

    Args:
        envelope: DSSE, JSON.
        payload_type: what the payload must be.
        root: the authority's certificate, PEM.

    Raises:
        SignatureError: it is no envelope, of another type, or the authority did not sign it.
        CertificateError: the root cannot be read.
    """
    parsed = parse_envelope(envelope, payload_type)
    certificate = parse_certificate(root, "The root certificate")
    try:
        key = p256_key(certificate.public_key())
        message = signed_bytes(parsed.payload_type, parsed.payload)
        key.verify(parsed.signatures[0].sig, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise SignatureError("It is not signed by this authority, or it was changed.") from None
    except UNREADABLE:
        raise CertificateError("The root certificate cannot be read.") from None
    return parsed.payload


def key_of_request(request: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a request (PEM) that its owner signed.

    Raises:
        CertificateError: it cannot be read, is not signed by its own key, or its key is not on P-256.
    """
    if len(request) > LARGEST:
        raise CertificateError(f"The request for a certificate has {len(request)} bytes; that is too long for one.")
    try:
        parsed = x509.load_pem_x509_csr(request)
        key = p256_key(parsed.public_key())
        signed = parsed.is_signature_valid
    except UNREADABLE:
        raise CertificateError("The request for a certificate cannot be read; it must be for a P-256 key.") from None
    if not signed:
        raise CertificateError("The request for a certificate is not signed by the key that it is for.")
    return key


def _leaf_extensions(
    subject: Subject, key: ec.EllipticCurvePublicKey, issuer: ec.EllipticCurvePublicKey
) -> list[tuple[x509.ExtensionType, bool]]:
    names = [x509.DNSName(subject.dns_name), x509.UniformResourceIdentifier(subject.uri)]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if subject.role in SERVERS:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(ca=False), True),
        (x509.ExtendedKeyUsage(uses), False),
        (x509.SubjectAlternativeName(names), False),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False),
    ]


def _root(key: ec.EllipticCurvePrivateKey, name: str, now: datetime) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(_common_name(name))
        .issuer_name(_common_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=SKEW))
        .not_valid_after(now + timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _time(now: float | None) -> datetime:
    return datetime.fromtimestamp(time.time() if now is None else now, UTC)

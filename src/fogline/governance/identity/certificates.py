"""Certificates: reading who they speak for, and checking who signed them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fogline.governance.errors import CertificateError
from fogline.governance.identity.credentials import CertificateFacts
from fogline.governance.subject import Subject

LARGEST = 16 * 1024
"""Bytes of a certificate or a request; ours have about 900."""
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.ExtensionNotFound,
)
"""What the parser raises for bytes that are no certificate."""


def read_certificate(certificate: bytes) -> CertificateFacts:
    """What a node's certificate (PEM) says. Whether it may be believed is :func:`check_issued`'s question.

    Raises:
        CertificateError: it cannot be read, or is no certificate of Fogline's.
    """
    return _facts(bytes(certificate))


def subject_of(certificate: bytes) -> Subject:
    """Who a certificate (PEM) speaks for.

    Raises:
        CertificateError: it cannot be read, or is no certificate of Fogline's.
    """
    return read_certificate(certificate).subject


def serial_of(certificate: bytes) -> str:
    """A certificate's serial number, in hexadecimal.

    Raises:
        CertificateError: it cannot be read, or is no certificate of Fogline's.
    """
    return read_certificate(certificate).serial


def expires_of(certificate: bytes) -> float:
    """Unix time at which a certificate ends.

    Raises:
        CertificateError: it cannot be read, or is no certificate of Fogline's.
    """
    return read_certificate(certificate).expires


def certificate_of_peer(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """The certificate (PEM) of the other end of a connection, from gRPC's ``context.auth_context()``.

    Raises:
        CertificateError: the connection has none: it is no mutual TLS.
    """
    found = list(auth_context.get("x509_pem_cert") or ())
    if list(auth_context.get("transport_security_type") or ()) != [b"ssl"] or len(found) != 1:
        raise CertificateError("The connection shows no certificate; it must be made with mutual TLS.")
    return bytes(found[0])


def subject_of_peer(auth_context: Mapping[str, Iterable[bytes]]) -> Subject:
    """Who is at the other end of a connection, from gRPC's ``context.auth_context()``.

    TLS has checked the certificate against the root already, so this only reads it.

    Raises:
        CertificateError: the connection is no mutual TLS, or the certificate is none of Fogline's.
    """
    return subject_of(certificate_of_peer(auth_context))


def check_issued(certificate: bytes, root: bytes, now: float) -> CertificateFacts:
    """What a certificate (PEM) says, if the authority with this root (PEM) signed it and it holds now.

    Raises:
        CertificateError: it cannot be read, another authority signed it, or it does not hold now.
    """
    facts = read_certificate(certificate)
    issuer = parse_certificate(root, "The root certificate")
    parsed = parse_certificate(certificate)
    try:
        parsed.verify_directly_issued_by(issuer)
        _check_whole_bytes(parsed)
    except (*UNREADABLE, InvalidSignature):
        raise CertificateError(f"The certificate of {facts.subject.name} is not signed by this authority.") from None
    if now >= facts.expires:
        raise CertificateError(f"The certificate of {facts.subject.name} expired on {day(facts.expires)}.")
    if now < facts.starts:
        raise CertificateError(
            f"The certificate of {facts.subject.name} holds from {day(facts.starts)} on; is this clock right?"
        )
    return facts


def _check_whole_bytes(certificate: x509.Certificate) -> None:
    """Refuse a signature that does not say it has whole bytes.

    The count of unused bits in front of a signature is not signed, and readers ignore it: with it
    one certificate could be written in several ways.

    Raises:
        InvalidSignature: the count is not 0.
    """
    if not certificate.public_bytes(Encoding.DER).endswith(b"\x00" + certificate.signature):
        raise InvalidSignature


def key_hash_of(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key (SubjectPublicKeyInfo), in hexadecimal: the name of the key pair."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def parse_certificate(certificate: bytes, what: str = "The certificate") -> x509.Certificate:
    """A certificate (PEM) as an object.

    Raises:
        CertificateError: it is none.
    """
    if len(certificate) > LARGEST:
        raise CertificateError(f"{what} has {len(certificate)} bytes; that is too long for one.")
    try:
        return x509.load_pem_x509_certificate(certificate)
    except UNREADABLE:
        raise CertificateError(f"{what} cannot be read; it must be one certificate in PEM.") from None


def p256_key(found: object) -> ec.EllipticCurvePublicKey:
    """A public key, if it is of the kind that Fogline uses.

    Raises:
        ValueError: it is of another kind.
    """
    if not isinstance(found, ec.EllipticCurvePublicKey) or not isinstance(found.curve, ec.SECP256R1):
        raise ValueError("The key must be an elliptic-curve key on P-256.")
    return found


def day(moment: float) -> str:
    """A moment as people read it, in UTC."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "a day that no calendar has"


# A server asks for every call who its peer is, and the answer for the same bytes is always the same.
@lru_cache(maxsize=256)
def _facts(certificate: bytes) -> CertificateFacts:
    parsed = parse_certificate(certificate)
    try:
        return CertificateFacts(
            subject=_subject(parsed),
            serial=f"{parsed.serial_number:x}",
            starts=parsed.not_valid_before_utc.timestamp(),
            expires=parsed.not_valid_after_utc.timestamp(),
            key_hash=key_hash_of(p256_key(parsed.public_key())),
        )
    except UNREADABLE:
        raise CertificateError("The certificate is no certificate of a Fogline node.") from None


def _subject(parsed: x509.Certificate) -> Subject:
    """The subject, if the three places that name it agree."""
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    (dns,) = names.get_values_for_type(x509.DNSName)
    (common,) = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    scheme, _, rest = uri.partition("://")
    who, limited, nodes = rest.partition("?")
    role, site, name = who.split("/")
    patterns = nodes.split(",") if limited else []
    subject = msgspec.convert({"name": name, "role": role, "site": site, "nodes": patterns}, Subject)
    if scheme != "fogline" or dns != subject.dns_name or common.value != name:
        raise ValueError("The names in the certificate do not agree.")
    return subject

"""Certificates say what the authority decided, and nothing of what a request asked for."""

from __future__ import annotations

import base64
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.governance.errors import AuthorityError, CertificateError
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.certificates import (
    check_issued,
    expires_of,
    read_certificate,
    serial_of,
    subject_of,
    subject_of_peer,
)
from fogline.governance.subject import Subject
from tests.governance.conftest import NOW

SUBJECT = Subject("Press_7", "device", "plant-a")


def request(key: ec.EllipticCurvePrivateKey | None = None, ask: bool = False) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cloud")] if ask else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if ask:
        names = [x509.DNSName("cloud.fogline.internal"), x509.UniformResourceIdentifier("fogline://cloud/main/cloud")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def issued(authority: Authority) -> bytes:
    return authority.issue(request(), SUBJECT, 30, NOW)


def test_a_certificate_says_who_it_speaks_for(authority: Authority) -> None:
    certificate = authority.issue(request(), SUBJECT, 30, NOW)
    facts = check_issued(certificate, authority.root_pem, NOW)
    assert facts.subject == subject_of(certificate) == SUBJECT
    assert facts.expires == expires_of(certificate) == NOW + 30 * 86400
    assert facts.serial == serial_of(certificate)
    parsed = x509.load_pem_x509_certificate(certificate)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["press_7.fogline.internal"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["fogline://device/plant-a/Press_7"]
    assert not parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_serial_numbers_differ(authority: Authority) -> None:
    asked = request()
    assert len({serial_of(authority.issue(asked, SUBJECT, 1, NOW)) for _ in range(5)}) == 5


def test_what_a_request_asks_for_is_ignored(authority: Authority) -> None:
    certificate = authority.issue(request(ask=True), SUBJECT, 30, NOW)
    assert subject_of(certificate) == SUBJECT
    assert b"cloud" not in base64.b64decode(b"".join(certificate.splitlines()[1:-1]))


@pytest.mark.parametrize(("role", "serves"), [("device", False), ("developer", False), ("fog", True), ("cloud", True)])
def test_only_roles_that_others_dial_may_be_servers(authority: Authority, role: str, serves: bool) -> None:
    certificate = authority.issue(request(), Subject("cloud", role), 30, NOW)  # pyright: ignore[reportArgumentType]
    uses = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert (ExtendedKeyUsageOID.SERVER_AUTH in uses) is serves
    assert ExtendedKeyUsageOID.CLIENT_AUTH in uses


def test_a_request_for_somebody_elses_key_is_refused(authority: Authority) -> None:
    """Its signature is Mallory's, its public key Ana's."""
    mine, hers = request(), ec.generate_private_key(ec.SECP256R1())
    der = x509.load_pem_x509_csr(mine).public_bytes(Encoding.DER)
    own = x509.load_pem_x509_csr(mine).public_key()
    assert isinstance(own, ec.EllipticCurvePublicKey)
    points = [key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in (own, hers.public_key())]
    forged = der.replace(points[0], points[1])
    assert forged != der
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(forged) + b"-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(CertificateError, match="not signed by the key"):
        authority.issue(pem, SUBJECT, 30, NOW)


def test_a_key_of_another_kind_is_refused(authority: Authority) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 1024)):
        with pytest.raises(CertificateError, match="P-256"):
            authority.issue(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), SUBJECT, 30, NOW)


def test_a_certificate_of_another_authority_is_refused(authority: Authority, other: Authority) -> None:
    with pytest.raises(CertificateError, match="not signed by this authority"):
        check_issued(other.issue(request(), SUBJECT, 30, NOW), authority.root_pem, NOW)


def test_a_certificate_holds_for_its_time_only(authority: Authority) -> None:
    certificate = authority.issue(request(), SUBJECT, 1, NOW)
    with pytest.raises(CertificateError, match=r"expired on 2027-01-16 08:00 UTC"):
        check_issued(certificate, authority.root_pem, NOW + 86400)
    with pytest.raises(CertificateError, match="clock"):
        check_issued(certificate, authority.root_pem, NOW - 3600)
    assert check_issued(certificate, authority.root_pem, NOW - 300)
    assert expires_of(authority.issue(request(), SUBJECT, 1e9, NOW)) <= expires_of_root(authority)


@pytest.mark.parametrize(
    ("common", "dns", "uri"),
    [
        ("b", "a.fogline.internal", "fogline://fog/main/a"),
        ("a", "b.fogline.internal", "fogline://fog/main/a"),
        ("a", "a.fogline.internal", "fogline://fog/main/b"),
        ("a", "a.fogline.internal", "https://fog/main/a"),
        ("a", "a.fogline.internal", "fogline://boss/main/a"),
        ("a", "a.fogline.internal", "fogline://fog/a"),
    ],
)
def test_names_that_do_not_agree_are_no_subject(common: str, dns: str, uri: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    names = x509.SubjectAlternativeName([x509.DNSName(dns), x509.UniformResourceIdentifier(uri)])
    day = datetime(2027, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 5, day, day).add_extension(names, False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    with pytest.raises(CertificateError, match="no certificate of a Fogline node"):
        subject_of(pem)


def test_a_leaf_signs_no_leaf(authority: Authority) -> None:
    """A node that plays authority with its own certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = x509.load_pem_x509_certificate(authority.issue(request(key), Subject("fog-1", "fog"), 30, NOW))
    rogue = Authority(key, leaf).issue(request(), Subject("cloud", "cloud"), 1, NOW)
    with pytest.raises(CertificateError, match="not signed by this authority"):
        check_issued(rogue, authority.root_pem, NOW)


def test_the_root_is_no_node(authority: Authority) -> None:
    with pytest.raises(CertificateError):
        read_certificate(authority.root_pem)


def test_an_authority_is_loaded_and_never_replaced(tmp_path: Path) -> None:
    made = Authority.create(tmp_path / "ca", "plant")
    assert Authority.load(tmp_path / "ca").root_pem == made.root_pem
    assert (tmp_path / "ca" / "authority-key.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(AuthorityError, match="already"):
        Authority.create(tmp_path / "ca")
    with pytest.raises(AuthorityError, match="There is no authority"):
        Authority.load(tmp_path / "nowhere")
    Authority.create(tmp_path / "b")
    (tmp_path / "b" / "root.pem").write_bytes(made.root_pem)
    with pytest.raises(AuthorityError, match="does not belong"):
        Authority.load(tmp_path / "b")
    (tmp_path / "b" / "authority-key.pem").write_text("rubbish")
    with pytest.raises(AuthorityError, match="damaged"):
        Authority.load(tmp_path / "b")


@pytest.mark.parametrize("name", ["", ".", "..", "a..b", "a/b", "-a", "a-", "a\n", "ä", "a b", "x" * 64, "*", "a\x00b"])
def test_names_are_safe_everywhere(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        Subject(name, "device")
    with pytest.raises(ValueError, match="cannot be used"):
        Subject("a", "device", name)


def test_a_connection_without_a_certificate_has_no_subject() -> None:
    for context in ({}, {"transport_security_type": [b"ssl"]}, {"x509_pem_cert": [b"x"]}):
        with pytest.raises(CertificateError, match="mutual TLS"):
            subject_of_peer(context)


@given(st.binary(max_size=3000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_certificate_or_an_error(authority: Authority, data: bytes, armoured: bool) -> None:
    kinds = (b"CERTIFICATE", b"CERTIFICATE REQUEST")
    for kind in kinds:
        text = b"-----BEGIN %b-----\n%b-----END %b-----\n" % (kind, base64.encodebytes(data), kind)
        for read in (read_certificate, lambda pem: authority.issue(pem, SUBJECT, 1, NOW)):
            with pytest.raises(CertificateError):
                read(text if armoured else data)


def changed(certificate: bytes, at: int, change: int) -> bytes:
    """A certificate (PEM) with one byte of its DER changed."""
    der = bytearray(x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER))
    der[at % len(der)] ^= change
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(der)) + b"-----END CERTIFICATE-----\n"


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_changed_certificate_is_an_error(authority: Authority, issued: bytes, at: int, change: int) -> None:
    with pytest.raises(CertificateError):
        check_issued(changed(issued, at, change), authority.root_pem, NOW)


def test_a_certificate_can_be_written_in_one_way_only(authority: Authority) -> None:
    """The one byte that nobody signs, the count of unused bits before the signature, must be zero."""
    # A signature must end in three zero bits for the other counts to be readable at all.
    tries = (authority.issue(request(), SUBJECT, 30, NOW) for _ in range(1000))
    certificate, parsed = next((c, p) for c in tries if not (p := x509.load_pem_x509_certificate(c)).signature[-1] & 7)
    check_issued(certificate, authority.root_pem, NOW)
    for unused_bits in (1, 2, 3):
        again = changed(certificate, -len(parsed.signature) - 1, unused_bits)
        assert x509.load_pem_x509_certificate(again).signature == parsed.signature
        with pytest.raises(CertificateError, match="not signed by this authority"):
            check_issued(again, authority.root_pem, NOW)


def expires_of_root(authority: Authority) -> float:
    return x509.load_pem_x509_certificate(authority.root_pem).not_valid_after_utc.timestamp()

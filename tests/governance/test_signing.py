"""Signatures: what is signed as one thing is no other thing, and nobody signs for somebody else."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.governance.errors import RevocationError, SignatureError
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.revocation import PAYLOAD_TYPE, HeldLists, Revocations
from fogline.governance.identity.serials import new_serial
from fogline.governance.signatures.envelope import signed_bytes
from fogline.governance.signatures.signing import Signer, SigningKey, sign, verify
from fogline.governance.subject import Subject

TYPE = "application/vnd.test"


def test_who_signed_is_told(ana: SigningKey, mallory: SigningKey) -> None:
    envelope = sign(TYPE, b"hello", ana)
    assert verify(envelope, TYPE, [mallory.signer, ana.signer]) == (b"hello", ana.signer)
    assert json.loads(envelope)["payloadType"] == TYPE


def test_a_stranger_is_refused(ana: SigningKey, mallory: SigningKey) -> None:
    for signers in ([], [ana.signer]):
        with pytest.raises(SignatureError, match="not signed by anybody"):
            verify(sign(TYPE, b"hello", mallory), TYPE, signers)


def test_the_encoding_is_that_of_dsse() -> None:
    assert signed_bytes("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_payload_cannot_change_its_type(ana: SigningKey) -> None:
    envelope = sign(TYPE, b"hello", ana)
    with pytest.raises(SignatureError, match="does not hold what is wanted"):
        verify(envelope, "application/other", [ana.signer])
    with pytest.raises(SignatureError, match="not signed by anybody"):
        verify(envelope.replace(b"vnd.test", b"other"), "application/other", [ana.signer])


def test_type_and_payload_cannot_be_divided_otherwise(ana: SigningKey) -> None:
    """The same bytes side by side, with the border elsewhere."""
    parts = msgspec.json.decode(sign("a b", b"c 1 d", ana))
    for kind, payload in (("a", b"b 5 c 1 d"), ("a b 5 c", b"d"), ("a b ", b"c 1 d")):
        moved = parts | {"payloadType": kind, "payload": msgspec.to_builtins(payload)}
        with pytest.raises(SignatureError, match="not signed by anybody"):
            verify(msgspec.json.encode(moved), kind, [ana.signer])


def test_no_more_and_no_fewer_than_one_signature(ana: SigningKey) -> None:
    parts = msgspec.json.decode(sign(TYPE, b"hello", ana))
    for signatures in ([], parts["signatures"] * 2):
        with pytest.raises(SignatureError, match="exactly one"):
            verify(msgspec.json.encode(parts | {"signatures": signatures}), TYPE, [ana.signer])


def test_a_key_is_private_and_loads_again(tmp_path: Path, ana: SigningKey) -> None:
    path = tmp_path / "keys" / "ana.key"
    made = SigningKey.create(path, "ana")
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).signer == made.signer
    assert path.read_text().splitlines()[2] not in repr(made)
    with pytest.raises(SignatureError, match="exists already"):
        SigningKey.create(path, "ana")
    with pytest.raises(SignatureError, match="cannot be used"):
        SigningKey.create(tmp_path / "x", "ana\nbob")
    path.chmod(0o640)
    with pytest.raises(SignatureError, match="chmod 600"):
        SigningKey.load(path)
    path.chmod(0o600)
    path.write_text("rubbish")
    with pytest.raises(SignatureError, match="no signing key"):
        SigningKey.load(path)
    with pytest.raises(SignatureError, match="cannot be read"):
        SigningKey.load(tmp_path / "nowhere")


def test_a_signer_is_one_line(ana: SigningKey) -> None:
    assert Signer.parse(ana.signer.text) == ana.signer
    assert ana.signer.text.startswith("ana ed25519:")
    for text in (
        "",
        "ana",
        "ana ed25519:",
        "ana rsa:AAAA",
        f"ana {ana.signer.key}=",
        f"a/b {ana.signer.key}",
        "x" * 9999,
    ):
        with pytest.raises(SignatureError):
            Signer.parse(text)


@given(st.text(max_size=300))
def test_any_text_is_a_signer_or_an_error(text: str) -> None:
    for candidate in (text, f"ana ed25519:{text}"):
        with pytest.raises(SignatureError):
            Signer.parse(candidate)


@given(st.one_of(st.binary(max_size=500), st.text(max_size=100).map(str.encode), st.just(b"[" * 100_000)))
@settings(deadline=None)
def test_any_bytes_are_an_envelope_or_an_error(ana: SigningKey, authority: Authority, data: bytes) -> None:
    with pytest.raises(SignatureError):
        verify(data, TYPE, [ana.signer])
    with pytest.raises(RevocationError):
        Revocations.verify(data, authority.root_pem)


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_envelope_says_the_same_or_is_an_error(ana: SigningKey, at: int, change: int) -> None:
    data = bytearray(sign(TYPE, b"hello", ana))
    data[at % len(data)] ^= change
    try:
        assert verify(bytes(data), TYPE, [ana.signer]) == (b"hello", ana.signer)
    except SignatureError:
        return


def test_a_revocation_list_is_the_authoritys(authority: Authority, other: Authority, ana: SigningKey) -> None:
    made = Revocations().adding(5.0, ["Press-7"], ["AB12"]).adding(6.0, serials=["cd"])
    assert Revocations.verify(made.sign(authority), authority.root_pem) == made
    with pytest.raises(RevocationError, match="not signed by this authority"):
        Revocations.verify(made.sign(other), authority.root_pem)
    with pytest.raises(RevocationError, match="not signed by this authority"):
        Revocations.verify(sign(PAYLOAD_TYPE, msgspec.msgpack.encode(made), ana), authority.root_pem)
    with pytest.raises(RevocationError, match="cannot be read"):
        Revocations.verify(made.sign(authority), b"rubbish")


def test_names_and_serials_are_refused() -> None:
    made = Revocations().adding(5.0, ["Press-7"], ["AB12"])
    before, after = f"{new_serial(5000):x}", f"{new_serial(made.following('PRESS-7', 5000)):x}"
    assert made.revoked(Subject("press-7", "device"), "1")
    assert made.revoked(Subject("press-7", "device"), before)
    assert made.revoked(Subject("PRESS-7", "fog"), before)
    assert made.revoked(Subject("press-8", "device"), "ab12")
    assert not made.revoked(Subject("press-8", "device"), before)
    assert not made.revoked(Subject("press-7", "device"), after)
    assert made.adding(6.0, ["press-7"]).revoked(Subject("press-7", "device"), after)


def test_lists_come_together_in_any_order(authority: Authority) -> None:
    """A cloud that went back to a backup signs a list without those whom it has forgotten."""
    first = Revocations().adding(5.0, ["press-1"])
    forgotten, issued_anew = first.adding(6.0, ["press-7"]), first.adding(7.0, ["press-9"])
    signed = [one.sign(authority) for one in (first, forgotten, issued_anew)]
    for order in permutations(signed):
        held = HeldLists(authority.root_pem, order)
        assert set(held.all.names) == {"press-1", "press-7", "press-9"}
        assert set(held.signed) == set(signed[1:])
        assert not held.take([b"rubbish", *signed])
        cloud = HeldLists(authority.root_pem, order, authority)
        (one,) = cloud.signed
        assert held.take([one], 8.0)
        assert held.signed == (one,)
        assert held.all.digest == cloud.all.digest != forgotten.digest


def test_an_old_list_never_replaces_a_newer_one() -> None:
    """Somebody plays back the list from before his name was on it."""
    old = Revocations().adding(5.0, ["press-1"])
    new = old.adding(6.0, ["press-7"])
    assert new.newer(old)
    assert old.newer(None)
    assert not old.newer(new)
    assert not new.newer(new)

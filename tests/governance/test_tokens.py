"""Tokens: who may join with one, and who may not."""

from __future__ import annotations

import threading
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.governance.errors import TokenError, TokenRefusedError
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.tokens import Token, TokenRecord, create_token, read_token, redeem
from fogline.governance.subject import Role
from tests.governance.conftest import NOW
from tests.patience import PATIENCE


def made(authority: Authority, uses: int = 1, names: str | None = None) -> tuple[TokenRecord, Token]:
    record, text = create_token(authority.root_pem, "device", "plant-a", uses, 3600, NOW, names, "ida")
    return record, read_token(text)


def ask(
    record: TokenRecord | None,
    token: Token,
    name: str = "press-7",
    role: Role = "device",
    now: float = NOW,
    key: str = "k1",
    secret: bytes | None = None,
) -> TokenRecord:
    return redeem(record, token.id, token.secret if secret is None else secret, name, role, now, key)


def test_a_token_brings_the_root(authority: Authority) -> None:
    record, text = create_token(authority.root_pem, "device", "plant-a", 1, 3600, NOW)
    token = read_token(f" {text}\n")
    assert text.startswith("fogline1_")
    assert token.root == authority.root_pem
    assert (token.id, token.expires) == (record.id, NOW + 3600)
    assert token.secret not in record.secret_hash


def test_a_token_is_spent(authority: Authority) -> None:
    record, token = made(authority, uses=2)
    record = ask(record, token)
    record = ask(record, token, name="press-8", key="k2")
    assert record.uses_left == 0
    with pytest.raises(TokenRefusedError, match="used up"):
        ask(record, token, name="press-9", key="k3")


def test_a_lost_answer_costs_no_second_use(authority: Authority) -> None:
    record, token = made(authority)
    spent = ask(record, token)
    assert ask(spent, token) == spent
    for key, name in (("k2", "press-7"), ("k1", "press-8")):
        with pytest.raises(TokenRefusedError, match="used up"):
            ask(spent, token, key=key, name=name)


def test_each_refusal_has_its_sentence(authority: Authority) -> None:
    record, token = made(authority, names="press-*")
    with pytest.raises(TokenRefusedError) as unknown:
        ask(None, token)
    with pytest.raises(TokenRefusedError) as wrong:
        ask(record, token, secret=bytes(16))
    with pytest.raises(TokenRefusedError) as foreign:
        ask(made(authority)[0], token)
    assert str(unknown.value) == str(wrong.value) == str(foreign.value)
    with pytest.raises(TokenRefusedError, match="expired on"):
        ask(record, token, now=NOW + 3600)
    with pytest.raises(TokenRefusedError, match="for a device"):
        ask(record, token, role="fog")
    with pytest.raises(TokenRefusedError, match=r"names like press-\*"):
        ask(record, token, name="pump-1")
    with pytest.raises(TokenRefusedError, match="cannot be used"):
        ask(record, token, name="press-../../x")


def test_without_the_secret_nothing_is_learnt_of_a_spent_token(authority: Authority) -> None:
    record, token = made(authority)
    spent = ask(record, token)
    with pytest.raises(TokenRefusedError, match="not known here"):
        ask(spent, token, secret=b"x" * 16, now=NOW + 9999)


def test_two_at_once_share_one_use(authority: Authority) -> None:
    """The cloud puts a record in place only of the one that it read."""
    record, token = made(authority)
    store, lock, barrier = {record.id: record}, threading.Lock(), threading.Barrier(8)
    won: list[str] = []

    def node(key: str) -> None:
        while True:
            before = store[record.id]
            if before is record:
                barrier.wait(PATIENCE)
            try:
                after = ask(before, token, name=key, key=key)
            except TokenRefusedError:
                return
            with lock:
                if store[record.id] is before:
                    store[record.id] = after
                    won.append(key)
                    return

    threads = [threading.Thread(target=node, args=(f"n{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(won) == 1
    assert [use.name for use in store[record.id].redeemed] == won


def test_truncated_and_foreign_texts_are_told_apart(authority: Authority) -> None:
    _, text = create_token(authority.root_pem, "device", "plant-a", 1, 3600, NOW)
    for cut in range(len("fogline1_"), len(text), 13):
        with pytest.raises(TokenError, match="damaged or cut off"):
            read_token(text[:cut])
    for foreign in ("", "ghp_abcdef", "fogline2_AAAA", "ä"):
        with pytest.raises(TokenError, match="no Fogline token"):
            read_token(foreign)
    with pytest.raises(TokenError):
        read_token("fogline1_" + "A" * 50_000_000)


def test_no_error_repeats_the_secret(authority: Authority) -> None:
    record, text = create_token(authority.root_pem, "device", "plant-a", 1, 3600, NOW)
    token = read_token(text)
    shown = [repr(token), repr(record)]
    for call in (
        lambda: read_token(text[:-1]),
        lambda: read_token(text + "!"),
        lambda: read_token(text[:60] + "é" + text[60:]),
        lambda: ask(None, token),
        lambda: ask(record, token, role="fog"),
    ):
        with pytest.raises((TokenError, TokenRefusedError)) as caught:
            call()
        shown.append("".join(traceback.format_exception(caught.value)))
    whole = "".join(shown)
    for secret in (text[12:50], token.secret.hex(), repr(token.secret), str(token.secret)):
        assert secret not in whole


@pytest.mark.parametrize(
    ("role", "site", "uses", "ttl"),
    [
        ("device", "a", 0, 60),
        ("device", "a", 10**9, 60),
        ("device", "a", 1, 0),
        ("device", "a/b", 1, 60),
        ("x", "a", 1, 60),
    ],
)
def test_impossible_tokens_are_not_made(authority: Authority, role: Role, site: str, uses: int, ttl: float) -> None:
    with pytest.raises(TokenError):
        create_token(authority.root_pem, role, site, uses, ttl, NOW)


@given(st.one_of(st.text(max_size=200), st.binary(max_size=800).map(lambda data: data.hex())))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_token_or_an_error(text: str) -> None:
    for candidate in (text, "fogline1_" + text):
        with pytest.raises(TokenError):
            read_token(candidate)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_content_that_only_looks_whole_is_an_error(data: st.DataObject) -> None:
    """A forger can compute the checksum."""
    import base64
    import hashlib

    import msgspec

    def scalars() -> st.SearchStrategy[object]:
        return st.one_of(st.binary(max_size=40), st.text(max_size=10), st.floats(), st.integers(0, 2**40), st.none())

    packed = msgspec.msgpack.encode(data.draw(st.lists(scalars(), max_size=6)))
    blob = packed + hashlib.sha256(packed).digest()[:4]
    with pytest.raises(TokenError):
        read_token("fogline1_" + base64.urlsafe_b64encode(blob).decode().rstrip("="))

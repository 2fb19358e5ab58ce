"""Attackers at the sign-in: with states, codes and tokens that are not theirs, not for here, or of their own making."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc.jwk import ECKey, RSAKey

from fogline.dashboard.sign_in import fetching
from fogline.dashboard.sign_in.errors import SignInError
from fogline.dashboard.sign_in.provider import OpenIdProvider
from fogline.dashboard.sign_in.settings import read_sign_in
from fogline.dashboard.sign_in.visits import Visit
from tests.dashboard.sign_in.conftest import Inside
from tests.dashboard.sign_in.provider import CLIENT, RSA, SECRET, SmallProvider, signed
from tests.dashboard.sign_in.visiting import PagedCloud, Visitor, write_settings
from tests.network.processes import free_port
from tests.patience import PATIENCE

UNASKED = "was not begun in this browser"
YEAR = 365 * 86400
STRANGER = RSAKey.generate_key(2048, {"kid": "first"})
"""A key that the provider does not have, under the id of one that it has."""


def behind(path: str, name: str) -> str:
    """What stands behind the ``?``."""
    return parse_qs(urlsplit(path).query)[name][0]


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned(claims: dict[str, Any], alg: str = "none") -> str:
    return f"{part({'alg': alg, 'kid': 'first'})}.{part(claims)}."


def by_hmac(secret: bytes) -> Callable[[dict[str, Any]], str]:
    """Signs with HS256, and what is no secret."""

    def sign(claims: dict[str, Any]) -> str:
        text = f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(claims)}"
        return f"{text}.{part(hmac.digest(secret, text.encode(), 'sha256'))}"

    return sign


def changed(claims: dict[str, Any]) -> str:
    """Another person, under the signature of this one."""
    head, _, signature = signed(claims).split(".")
    return f"{head}.{part(claims | {'sub': 'omar', 'groups': ['plant-operators']})}.{signature}"


def signed_bytes(payload: bytes) -> str:
    """Rightly signed, whatever is signed."""
    text = f"{part({'alg': 'RS256', 'kid': 'first'})}.{part(payload)}"
    private = RSA.private_key
    assert private is not None
    return f"{text}.{part(private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


PUBLIC_PEM = RSA.as_pem(private=False)
FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "alg none": unsigned,
    "alg None": lambda claims: unsigned(claims, "None"),
    "no signature": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "HS256 with the public key": by_hmac(PUBLIC_PEM),
    "HS256 with the public key's JSON": by_hmac(json.dumps(RSA.as_dict(private=False)).encode()),
    "HS256 with the client's secret": by_hmac(SECRET.encode()),
    "a key that the provider has not": lambda claims: signed(claims, STRANGER),
    "an unknown kid": lambda claims: signed(claims, RSAKey.generate_key(2048, {"kid": "other"})),
    "a key that it brings along": lambda claims: signed(
        claims, STRANGER, jwk=STRANGER.as_dict(private=False), jku="http://127.0.0.1/keys"
    ),
    "RS512": lambda claims: signed(claims, RSA, "RS512"),
    "other claims": changed,
    "what it must understand is no list": lambda claims: (
        f"{part({'alg': 'RS256', 'kid': 'first', 'crit': 5})}.{part(claims)}.{part(b'x')}"
    ),
    "lists in lists": lambda _: signed_bytes(b"[" * 9000),
    "a name of no letters": lambda claims: signed_bytes(json.dumps(claims | {"sub": "\ud800"}).encode()),
    "a nonce of no letters": lambda claims: signed_bytes(json.dumps(claims | {"nonce": "\ud800"}).encode()),
    "no token": lambda _: "a.b.c",
    "nothing": lambda _: "",
    "too long a one": lambda claims: signed(claims | {"more": "x" * 40_000}),
}
BENT: dict[str, tuple[dict[str, Any], str]] = {
    "wrong nonce": ({"nonce": "of-another-visit"}, "of another visit"),
    "no nonce": ({"nonce": None}, "not to be believed"),
    "wrong audience": ({"aud": "another"}, "for somebody else"),
    "no audience": ({"aud": []}, "for somebody else"),
    "several, and for another": ({"aud": [CLIENT, "another"], "azp": "another"}, "for somebody else"),
    "several, for nobody": ({"aud": [CLIENT, "another"]}, "for somebody else"),
    "wrong issuer": ({"iss": "https://evil.example"}, "another provider's"),
    "issuer with a slash": ({"iss": "http://127.0.0.1/"}, "another provider's"),
    "expired": ({"exp": int(time.time()) - YEAR}, "has expired"),
    "no end": ({"exp": None}, "not to be believed"),
    "never ends": ({"exp": "never"}, "not to be believed"),
    "not a number": ({"exp": float("nan")}, "expired"),
    "of the future": ({"iat": int(time.time()) + YEAR}, "of the future"),
    "not yet": ({"nbf": int(time.time()) + YEAR}, "of the future"),
    "nobody": ({"sub": ""}, "who it is about"),
    "a number": ({"sub": 7}, "not to be believed"),
    "lines in a log": ({"sub": "ana\n2026 revoked"}, "who it is about"),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_token_lets_nobody_in(how: str, visitor: Visitor, provider: SmallProvider, inside: Inside) -> None:
    def work() -> None:
        provider.sign = FORGED[how]
        why = visitor.arrive(visitor.back(provider))
        assert "ID token" in why
        assert "ana" not in why  # Nothing of the token is repeated.
        assert not visitor.is_in()

    inside(work)


@pytest.mark.parametrize("how", BENT)
def test_a_token_that_is_not_for_here_and_now_lets_nobody_in(
    how: str, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        provider.bent, sentence = BENT[how]
        assert sentence in visitor.arrive(visitor.back(provider))
        assert not visitor.is_in()

    inside(work)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_weak_keys_and_keys_for_other_uses_count_as_none(
    visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        short = RSAKey.generate_key(1024, {"kid": "short"})
        other_use = RSAKey.generate_key(2048, {"kid": "encrypts", "use": "enc"})
        provider.keys = [short, other_use, ECKey.generate_key("P-384", {"kid": "large"})]
        for kid in ("short", "encrypts"):
            provider.sign = lambda claims, kid=kid: signed(claims, kid=kid)
            assert "no key for RS256 or ES256" in visitor.arrive(visitor.back(provider))
        assert not visitor.is_in()

    inside(work)


def test_a_state_of_another_visit_lets_nobody_in(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    """An attacker has the victim's browser come back with the attacker's code."""

    def work() -> None:
        attacker = Visitor(page)
        theirs = attacker.back(provider)
        assert UNASKED in visitor.arrive(theirs)  # The victim has begun nothing.
        visitor.back(provider)
        assert UNASKED in visitor.arrive(theirs)  # The victim is on the way.
        own = visitor.back(provider)
        state = behind(own, "state")
        assert UNASKED in visitor.arrive(own.replace(state, "x" + state[1:]))
        assert UNASKED in visitor.arrive(own)  # A visit that went wrong is over.
        assert not visitor.is_in()
        assert not provider.sent  # No code was redeemed for any of it.

    inside(work)


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?state=x", "?code=x&state=x&state=y", "?error=access_denied", "?code=x&state="]
)
def test_coming_back_without_having_gone_lets_nobody_in(
    query: str, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        assert UNASKED in visitor.arrive(f"/sign-in/callback{query}")
        assert provider.asked == []

    inside(work)


def test_a_code_counts_once(page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside) -> None:
    def work() -> None:
        back = visitor.back(provider)
        cookies = dict(visitor.cookies)
        assert visitor.arrive(back) == ""
        thief = Visitor(page, cookies)  # With all that the browser had when it came back.
        assert UNASKED in thief.arrive(back)
        # In a visit of the thief's own, with the code that was used and with one that was not.
        for code in (
            parse_qs(urlsplit(back).query)["code"][0],
            parse_qs(urlsplit(visitor.back(provider)).query)["code"][0],
        ):
            own = thief.back(provider)
            state = behind(own, "state")
            assert thief.arrive(f"/sign-in/callback?code={code}&state={state}") == (
                "The provider refuses (invalid_grant); begin again."
            )
        assert not thief.is_in()

    inside(work)


def test_another_provider_s_answer_is_not_taken(visitor: Visitor, provider: SmallProvider, inside: Inside) -> None:
    def work() -> None:
        back = visitor.back(provider)
        assert "Another provider" in visitor.arrive(f"{back}&iss=https%3A%2F%2Fevil.example")
        assert not provider.sent

    inside(work)


def test_nobody_is_sent_anywhere_but_to_the_provider_and_the_page(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        asked = "next=https://evil.example&redirect_uri=https://evil.example&return_to=//evil.example"
        to = str(visitor.send("GET", f"/sign-in/start?{asked}").getheader("location"))
        assert to.startswith(f"{provider.issuer}/authorize?")
        assert parse_qs(urlsplit(to).query)["redirect_uri"] == [f"{page.address}/sign-in/callback"]
        assert "evil" not in to
        assert visitor.send("GET", "/sign-in/start", Host="evil.example").status == 421
        assert visitor.send("GET", "/sign-in/start", X_Forwarded_Host="evil.example").status == 303
        back = visitor.back(provider)
        assert visitor.send("GET", f"{back}&next=//evil.example").getheader("location") == "/"

    inside(work)


@pytest.mark.parametrize("cookie", ["", "guessed", "x" * 43])
def test_a_session_of_nobody_opens_nothing(
    cookie: str, page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        visitor.sign_in(provider, sub="ana")
        (name,) = [name for name in visitor.cookies if "session" in name]
        other = Visitor(page, {name: cookie})
        assert not other.is_in()
        assert other.ask("audit")[0] == 401
        visit = Visitor(page)
        visit.begin()
        assert not Visitor(page, {name: next(iter(visit.cookies.values()))}).is_in()

    inside(work)


def test_a_session_is_its_own_person_s_only(
    page: PagedCloud, visitor: Visitor, provider: SmallProvider, inside: Inside
) -> None:
    def work() -> None:
        visitor.sign_in(provider, sub="ana")
        other = Visitor(page)
        other.sign_in(provider, sub="omar", groups=["plant-operators"])
        assert (visitor.about()["role"], other.about()["role"]) == ("auditor", "operator")
        assert visitor.ask("token", {"role": "device"})[0] == 404
        fixed = Visitor(page, dict(visitor.cookies))  # Somebody signs in in a browser that another has prepared.
        fixed.sign_in(provider, sub="omar", groups=["plant-operators"])
        assert fixed.cookies != visitor.cookies
        assert not visitor.is_in()

    inside(work)


def test_another_page_changes_nothing(visitor: Visitor, provider: SmallProvider, inside: Inside) -> None:
    def work() -> None:
        visitor.sign_in(provider, sub="omar", groups=["plant-operators"])
        for headers, status in (
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": ""}, 403),
            ({"Content_Type": "text/plain"}, 415),
            ({"Host": "evil.example"}, 421),
        ):
            assert visitor.send("POST", "/api/ask/token", {"role": "operator"}, **headers).status == status

    inside(work)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"issuer": "https://evil.example"}, "another one than the cloud asks"),
        ({"authorization_endpoint": "http://evil.example/authorize"}, "not https"),
        ({"token_endpoint": "http://evil.example/token"}, "not https"),
        ({"jwks_uri": "file:///etc/passwd"}, "not https"),
        ({"jwks_uri": None}, "lacks what OpenID Connect wants"),
    ],
)
def test_what_a_provider_says_of_itself_is_looked_at(
    said: dict[str, Any], sentence: str, provider: SmallProvider, page: PagedCloud
) -> None:

    provider.discovery = said
    with pytest.raises(SignInError, match=sentence):
        asyncio.run(OpenIdProvider(read_sign_in(page.folder)).begin(Visit(0.0)))


def test_a_provider_that_is_silent_holds_up_nothing_but_sign_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "QUIET", 2 * PATIENCE)

    async def work(silent: socket.socket) -> None:
        write_settings(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}", free_port())
        asked = OpenIdProvider(read_sign_in(tmp_path))
        begun = [asyncio.create_task(asked.begin(Visit(0.0))) for _ in range(fetching.MOST)]
        await asyncio.sleep(0)
        with pytest.raises(SignInError, match="Too many people sign in just now"):
            await asked.begin(Visit(0.0))
        async with asyncio.timeout(PATIENCE):
            await asyncio.to_thread(int)  # As the cloud's own work is done, on threads that all share.
        assert not any(task.done() for task in begun)
        for task in begun:
            task.cancel()
        asked.close()

    with socket.create_server(("127.0.0.1", 0), backlog=fetching.MOST) as silent:
        asyncio.run(work(silent))

"""A provider of OpenID Connect: where it is asked for what, its keys, and what it gives for a code.

Discovery: https://openid.net/specs/openid-connect-discovery-1_0.html; the flow: OpenID Connect Core 1.0, section 3.1,
with PKCE (RFC 7636).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec

from fogline.dashboard.sign_in.errors import SignInError
from fogline.dashboard.sign_in.fetching import Fetcher
from fogline.dashboard.sign_in.id_token import IdClaims, UnknownKeyError, VerifyingKey, keys_of, verified
from fogline.dashboard.sign_in.settings import SignIn, checked_url
from fogline.dashboard.sign_in.visits import Visit

KEPT = 3600.0
"""Seconds for which what a provider says of itself is believed without asking again."""
BACK = "/sign-in/callback"
"""Where the provider sends browsers back to."""


class Discovered(msgspec.Struct, frozen=True):
    """What a provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class TokenAnswer(msgspec.Struct, frozen=True):
    """What it gives for a code; what else there is is not used."""

    id_token: str


class OpenIdProvider:
    """One provider, as a client of it sees it.

    Args:
        sign_in: the settings.
        clock: Unix time.
    """

    def __init__(self, sign_in: SignIn, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._secret = sign_in.settings, sign_in.secret
        self._clock = clock
        self._fetcher = Fetcher()
        self._discovered: Discovered | None = None
        self._asked = 0.0
        self._keys: tuple[VerifyingKey, ...] = ()

    async def find(self) -> Discovered:
        """What the provider says of itself, not older than an hour.

        Raises:
            SignInError: it does not answer, or says what cannot be.
        """
        if self._discovered is not None and 0 <= self._clock() - self._asked < KEPT:
            return self._discovered
        issuer = self._settings.provider.issuer
        found = _read(await self._fetcher.fetch(issuer.rstrip("/") + "/.well-known/openid-configuration"), Discovered)
        if found.issuer != issuer:
            raise SignInError("The provider says that it is another one than the cloud asks; ask the cloud's operator.")
        for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if checked_url(url) is not None:
                raise SignInError("The provider names an address that is not https; ask the cloud's operator.")
        self._discovered, self._asked, self._keys = found, self._clock(), ()
        return found

    async def begin(self, visit: Visit) -> str:
        """Where a browser goes to sign in.

        Raises:
            SignInError: the provider does not answer, or says what cannot be.
        """
        found, provider = await self.find(), self._settings.provider
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self._settings.address + BACK,
            "scope": " ".join(dict.fromkeys(("openid", *provider.scopes))),
            "state": visit.state,
            "nonce": visit.nonce,
            "code_challenge": visit.challenge,
            "code_challenge_method": "S256",
        }
        return f"{found.authorization_endpoint}{'&' if '?' in found.authorization_endpoint else '?'}{urlencode(asked)}"

    async def end(self, code: str, visit: Visit) -> IdClaims:
        """Who has come back with a code.

        Raises:
            SignInError: the provider refuses the code, or its ID token is not for this visit.
        """
        found, provider = await self.find(), self._settings.provider
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._settings.address + BACK,
            "code_verifier": visit.verifier,
        }
        headers: dict[str, str] = {}
        if "client_secret_basic" in found.token_endpoint_auth_methods_supported:
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(self._secret)}"  # RFC 6749, section 2.3.1.
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": provider.client_id, "client_secret": self._secret}
        answer = _read(await self._fetcher.fetch(found.token_endpoint, form, headers), TokenAnswer)
        return await self._verified(answer.id_token, visit.nonce, found)

    def close(self) -> None:
        """Ask it no more."""
        self._fetcher.close()

    async def _verified(self, token: str, nonce: str, found: Discovered) -> IdClaims:
        who = (found.issuer, self._settings.provider.client_id, nonce)
        if self._keys:
            try:
                return verified(token, self._keys, *who, self._clock())
            except UnknownKeyError:  # The provider has another key by now.
                pass
        self._keys = keys_of(await self._fetcher.fetch(found.jwks_uri))
        return verified(token, self._keys, *who, self._clock())


def _read(value: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:  # What it says may repeat a token.
        raise SignInError("The provider's answer lacks what OpenID Connect wants; ask the cloud's operator.") from None

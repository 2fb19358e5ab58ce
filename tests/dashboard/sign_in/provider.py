"""A small provider of OpenID Connect that tests start: real HTTP on loopback, and as strict as a good one is; what it
says can be bent, as an attacker or a provider at fault would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT, SECRET = "fogline", "a secret: of the tests"
RSA = RSAKey.generate_key(2048, {"kid": "first"})
EC = ECKey.generate_key("P-256", {"kid": "second"})


@dataclass
class Given:
    """A code that was given out."""

    redirect_uri: str
    challenge: str
    nonce: str


@dataclass
class SmallProvider:
    """What it knows, and how it is bent."""

    issuer: str = ""
    keys: list[Any] = field(default_factory=lambda: [RSA])
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "ana"})
    """Who signs in, by the claims."""
    bent: dict[str, Any] = field(default_factory=dict)
    """Claims that are other than they should be."""
    sign: Callable[[dict[str, Any]], str] | None = None
    """Makes an ID token of claims; None: as it should."""
    discovery: dict[str, Any] = field(default_factory=dict)
    """What it says of itself that is other than it should be."""
    codes: dict[str, Given] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Paths, in the order of requests."""
    tokens: list[str] = field(default_factory=list)
    """All that were given out."""
    sent: list[dict[str, str]] = field(default_factory=list)
    """What its token endpoint got."""

    def straighten(self) -> None:
        """As at first."""
        fresh = SmallProvider(self.issuer)
        self.__dict__.update(fresh.__dict__)

    def about(self) -> dict[str, Any]:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
        }
        return found | self.discovery

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser goes back to."""
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = Given(asked["redirect_uri"], asked["code_challenge"], asked["nonce"])
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def redeem(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Status and answer of the token endpoint."""
        kind, _, pair = authorization.partition(" ")
        client, _, secret = base64.b64decode(pair).decode().partition(":") if kind == "Basic" else ("", "", "")
        if (unquote_plus(client), unquote_plus(secret)) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        given = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if given is None or (given.redirect_uri, given.challenge) != (form.get("redirect_uri"), challenge):
            return 400, {"error": "invalid_grant", "error_description": "<script>alert(1)</script>"}
        self.sent.append(form)
        token = (self.sign or signed)(self.claims(given.nonce))
        self.tokens.append(token)
        return 200, {"access_token": "unused", "token_type": "Bearer", "id_token": token}

    def claims(self, nonce: str) -> dict[str, Any]:
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce}
        return usual | self.person | self.bent


def signed(claims: dict[str, Any], key: Any = RSA, alg: str = "RS256", **header: Any) -> str:
    """An ID token."""
    return jwt.encode({"alg": alg, "kid": key.kid, **header}, claims, key, algorithms=[alg])


@contextmanager
def small_provider() -> Iterator[SmallProvider]:
    """One that answers."""
    provider = SmallProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            provider.asked.append(url.path)
            if url.path == "/.well-known/openid-configuration":
                self.answer(200, provider.about())
            elif url.path == "/keys":
                self.answer(200, {"keys": [key.as_dict(private=False) for key in provider.keys]})
            elif url.path == "/authorize":
                to = provider.authorize({name: values[0] for name, values in parse_qs(url.query).items()})
                self.send_response(302)
                self.send_header("Location", to)
                self.end_headers()
            else:
                self.answer(404, {})

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(text).items()}
            self.answer(*provider.redeem(form, self.headers.get("Authorization", "")))

        def answer(self, status: int, said: Any) -> None:
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

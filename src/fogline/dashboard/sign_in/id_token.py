"""ID tokens: signed by a key of the provider's, for this client, for this visit, and not too old.

The checks are those of OpenID Connect Core 1.0, section 3.1.3.7.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from fogline.dashboard.sign_in.errors import SignInError

KINDS = {"RS256": "RSA", "ES256": "EC"}
"""The signatures that count, and the kind of key of each. With ``none`` anybody could sign, and with HS256 whoever has
the client's secret, or takes a public key for one."""
LEEWAY = 60.0
"""Seconds by which clocks may differ."""
SHORTEST = 2048
"""Bits of an RSA key."""
LONGEST = 32 << 10
"""Characters of a token."""


class UnknownKeyError(SignInError):
    """No key that is known here has signed it."""


class IdClaims(msgspec.Struct, frozen=True):
    """What an ID token says, as far as it is used; ``all`` has the rest."""

    iss: str
    sub: str
    aud: str | tuple[str, ...]
    exp: float
    iat: float
    nonce: str
    nbf: float | None = None
    azp: str | None = None
    email: str | None = None
    email_verified: Any = None
    all: dict[str, Any] = {}

    def groups(self, claim: str) -> frozenset[str]:
        """The person's groups, by the claim that says them."""
        said = self.all.get(claim)
        if isinstance(said, str):
            return frozenset((said,))
        return frozenset(one for one in said if isinstance(one, str)) if isinstance(said, list) else frozenset()


@dataclass(frozen=True)
class VerifyingKey:
    """A public key of a provider's."""

    kid: str | None
    kind: str
    key: RSAKey | ECKey


def keys_of(jwks: Any) -> tuple[VerifyingKey, ...]:
    """The keys of a provider's set that may sign ID tokens; of the others nothing is taken.

    Raises:
        SignInError: there is none.
    """
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    keys = tuple(filter(None, map(_key_of, listed))) if isinstance(listed, list) else ()
    if not keys:
        raise SignInError("The provider has no key for RS256 or ES256; ask the cloud's operator.")
    return keys


def _key_of(jwk: Any) -> VerifyingKey | None:
    if not isinstance(jwk, dict) or jwk.get("use") not in (None, "sig"):
        return None
    kid = jwk.get("kid") if isinstance(jwk.get("kid"), str) else None
    try:
        if jwk.get("kty") == "RSA" and jwk.get("alg") in (None, "RS256"):
            rsa = RSAKey.import_key({name: jwk[name] for name in ("kty", "n", "e")})
            return VerifyingKey(kid, "RSA", rsa) if rsa.public_key.key_size >= SHORTEST else None
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256" and jwk.get("alg") in (None, "ES256"):
            return VerifyingKey(kid, "EC", ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")}))
    except (JoseError, KeyError, ValueError, TypeError):
        return None  # Another key of the set may be good.
    return None


def verified(token: str, keys: Sequence[VerifyingKey], issuer: str, client: str, nonce: str, now: float) -> IdClaims:
    """What a token says, if it is to be believed.

    Args:
        token: as the provider gave it.
        keys: the provider's.
        issuer: who the provider is.
        client: for whom it must be.
        nonce: of the visit.
        now: Unix time.

    Raises:
        UnknownKeyError: its key is not among these.
        SignInError: it is not to be believed.
    """
    try:
        if len(token) > LONGEST:
            raise SignInError("The provider's ID token is too long; ask the cloud's operator.")
        header = jws.extract_compact(token.encode()).headers()
        key = _chosen(header, keys)
        said = jwt.decode(token, key.key, algorithms=[header["alg"]]).claims
        claims = msgspec.structs.replace(msgspec.convert(said, IdClaims), all=said)
    except (JoseError, ValueError, TypeError, RecursionError) as error:  # Their sentences may repeat what it says.
        raise SignInError(f"The provider's ID token is not to be believed ({type(error).__name__}).") from None
    wrong = _wrong(claims, issuer, client, nonce, now)
    if wrong is not None:
        raise SignInError(f"The provider's ID token {wrong}; begin again.")
    return claims


def _chosen(header: dict[str, Any], keys: Sequence[VerifyingKey]) -> VerifyingKey:
    """The key that a token says it is signed with."""
    kind = KINDS.get(str(header.get("alg")))
    if kind is None:
        raise SignInError("The provider's ID token is not signed with RS256 or ES256; ask the cloud's operator.")
    kid = header.get("kid")
    fitting = [key for key in keys if key.kind == kind and (kid is None or key.kid == kid)]
    if len(fitting) != 1:  # Without an id, the one key that the provider has; of several, none.
        raise UnknownKeyError("The provider's ID token is signed with a key that the provider does not name.")
    return fitting[0]


def _wrong(claims: IdClaims, issuer: str, client: str, nonce: str, now: float) -> str | None:
    """What is wrong with what a token says; None: nothing."""
    audience = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    if claims.iss != issuer:
        return "is another provider's"
    if client not in audience or (len(audience) > 1 and claims.azp is None) or claims.azp not in (None, client):
        return "is for somebody else than this cloud"
    if not claims.nonce.isascii() or not hmac.compare_digest(claims.nonce, nonce):
        return "is of another visit"
    if not now < claims.exp + LEEWAY:
        return "has expired"
    if not claims.iat - LEEWAY <= now or not (claims.nbf is None or claims.nbf - LEEWAY <= now):
        return "is of the future; is this machine's clock right?"
    if not 0 < len(claims.sub) <= 255 or not claims.sub.isascii() or not claims.sub.isprintable():
        return "does not say who it is about"
    return None

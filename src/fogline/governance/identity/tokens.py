"""One-time tokens: how a machine that nobody knows yet becomes a node.

The text holds an id, a secret and the authority's root certificate: whoever has it knows whom to trust before the
first connection. The cloud keeps a hash of the secret only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fogline.governance.errors import TokenError, TokenRefusedError
from fogline.governance.identity.certificates import UNREADABLE, day, parse_certificate
from fogline.governance.subject import Role, Subject

PREFIX = "fogline1_"
LONGEST = 4096
"""Characters of a token; ours have about 750."""
MOST_USES = 10_000
CHECK = 4
"""Bytes of a checksum, so that a token that lost a character is told from a wrong one."""
NOT_KNOWN = "The token is not known here; ask the operator for a new one."


@dataclass(frozen=True)
class Token:
    """What a token says to the node that joins with it."""

    id: str
    secret: bytes = field(repr=False)
    root: bytes = field(repr=False)
    """Certificate (PEM) of the authority: the only one to trust."""
    expires: float
    """Unix time."""


class Redemption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who has used a token."""

    key_hash: str
    name: str


class TokenRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the cloud keeps of a token. Nobody can join with it."""

    id: str
    secret_hash: bytes
    """SHA-256."""
    role: Role
    site: str
    uses_left: int
    expires: float
    """Unix time."""
    created_by: str = ""
    names: str | None = None
    """Pattern that the node's name must fit, such as ``press-*``; None lets any through."""
    redeemed: tuple[Redemption, ...] = ()
    nodes: tuple[str, ...] = ()
    """Patterns of the nodes to which the role will be limited, of a person."""


class _Content(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    id: str
    secret: bytes
    root: bytes
    expires: float


def create_token(
    root_pem: bytes,
    role: Role,
    site: str,
    uses: int,
    ttl_s: float,
    now: float,
    names: str | None = None,
    created_by: str = "",
    nodes: tuple[str, ...] = (),
) -> tuple[TokenRecord, str]:
    """A new token: what the cloud keeps, and the text to hand to whoever sets the node up.

    Args:
        root_pem: the authority's certificate.
        role: what the node will be.
        site: where it will be.
        uses: how many nodes may join with it.
        ttl_s: seconds that it is good for.
        now: Unix time.
        names: pattern that the node's name must fit (``press-*``); None lets any through.
        created_by: who asked for it, for the log.
        nodes: patterns of the nodes to which the role is limited, of a person.

    Raises:
        TokenError: a value is impossible.
    """
    if not 1 <= uses <= MOST_USES:
        raise TokenError(f"uses is {uses}; a token is good for 1 to {MOST_USES} nodes.")
    if not ttl_s > 0:
        raise TokenError(f"The token would be good for {ttl_s} seconds; it must be more than 0.")
    try:
        Subject("any", role, site, nodes)
        root = parse_certificate(root_pem, "The root certificate").public_bytes(Encoding.DER)
    except ValueError as error:
        raise TokenError(str(error)) from None
    secret = secrets.token_bytes(16)
    content = _Content(secrets.token_hex(8), secret, root, now + ttl_s)
    record = TokenRecord(content.id, _hash(secret), role, site, uses, content.expires, created_by, names, (), nodes)
    packed = msgspec.msgpack.encode(content)
    text = base64.urlsafe_b64encode(packed + _checksum(packed)).decode().rstrip("=")
    return record, PREFIX + text


def read_token(text: str) -> Token:
    """What a token's text says. Whether it is still good, only the cloud knows.

    Raises:
        TokenError: the text is no token, or a part of it is lost. The error does not repeat it.
    """
    text = text.strip()
    if not text.startswith(PREFIX):
        raise TokenError(f"This is no Fogline token; one begins with {PREFIX}")
    damaged = TokenError("The token is damaged or cut off; copy all of it, it is one long line.")
    try:
        body = text[len(PREFIX) : LONGEST].encode("ascii")
        blob = base64.b64decode(body + b"=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise damaged from None
    packed, checksum = blob[:-CHECK], blob[-CHECK:]
    if not hmac.compare_digest(_checksum(packed), checksum):
        raise damaged
    try:
        content = msgspec.msgpack.decode(packed, type=_Content)
        root = x509.load_der_x509_certificate(content.root).public_bytes(Encoding.PEM)
    except UNREADABLE:
        raise TokenError("The token was made by another version of Fogline; ask the operator for a new one.") from None
    return Token(content.id, content.secret, root, content.expires)


def redeem(
    record: TokenRecord | None, token_id: str, secret: bytes, name: str, role: Role, now: float, key_hash: str
) -> TokenRecord:
    """The record after one use. The cloud puts it in the place of ``record`` only if nobody else did meanwhile.

    A node that lost the answer asks again with the same key and the same name: that is the same use.

    Args:
        record: what the cloud keeps under that id; None if nothing.
        token_id: the token's id.
        secret: the token's secret.
        name: the name that the node wants; that nobody else has it is the caller's to check.
        role: what the node wants to be.
        now: Unix time.
        key_hash: SHA-256 of the node's public key (:func:`fogline.governance.identity.certificates.key_hash_of`).

    Raises:
        TokenRefusedError: the token is unknown (or its secret is wrong), expired, for another role or for other names,
            or used up.
    """
    # An unknown id takes the same comparison and the same sentence: neither may tell which ids there are.
    expected = record.secret_hash if record is not None else bytes(32)
    right = hmac.compare_digest(_hash(secret), expected)
    if record is None or not right or record.id != token_id:
        raise TokenRefusedError(NOT_KNOWN)
    if now >= record.expires:
        raise TokenRefusedError(f"The token expired on {day(record.expires)}; ask the operator for a new one.")
    if role != record.role:
        raise TokenRefusedError(f"The token is for a {record.role}, so nobody can join as {role} with it.")
    try:
        Subject(name, role, record.site)
    except ValueError as error:
        raise TokenRefusedError(f"The {error}.") from None
    if record.names is not None and not fnmatchcase(name, record.names):
        raise TokenRefusedError(f"The token is for names like {record.names}; {name} is none of them.")
    use = Redemption(key_hash, name)
    if use in record.redeemed:
        return record
    if record.uses_left < 1:
        raise TokenRefusedError("The token is used up; ask the operator for a new one.")
    return msgspec.structs.replace(record, uses_left=record.uses_left - 1, redeemed=(*record.redeemed, use))


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _checksum(packed: bytes) -> bytes:
    return hashlib.sha256(packed).digest()[:CHECK]

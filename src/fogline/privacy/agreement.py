"""Keys of a round: a secret for every two members (X25519, RFC 7748), what is derived from it (HKDF, RFC 5869), and
texts that only the two can read (ChaCha20-Poly1305, RFC 8439)."""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY = 32
"""Bytes of every key, private or public."""
SEAL = 16
"""Bytes by which a sealed text is longer."""


def derive(secret: bytes, purpose: str, *context: bytes, length: int = KEY) -> bytes:
    """A key for one purpose in one context; different ones tell nothing of each other or of the secret.

    Args:
        secret: at least 32 bytes that nobody can guess.
        purpose: what the key is for.
        context: what else it is bound to; where one part ends and the next begins counts.
        length: bytes of the key.
    """
    parts = (b"fogline", purpose.encode(), *context)
    info = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    return HKDF(SHA256(), length, salt=None, info=info).derive(secret)


def public_key(private: bytes) -> bytes:
    """The public key, (32,) bytes, of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


class Agreement:
    """One side's private key.

    Args:
        private: 32 bytes.
    """

    def __init__(self, private: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private)

    def with_public(self, public: bytes) -> bytes | None:
        """The secret, (32,) bytes, that the holder of a public key finds too; None where that is no usable key."""
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:  # Of small order: anybody would know the secret.
            return None


@lru_cache(maxsize=1 << 14)
def lasting(private: bytes, public: bytes) -> bytes | None:
    """:meth:`Agreement.with_public` for keys that last longer than a round, so that it is computed once."""
    return Agreement(private).with_public(public)


def seal(key: bytes, text: bytes, bound: bytes, number: int) -> bytes:
    """A text that only who has the key can read, and nobody can change.

    Args:
        key: 32 bytes.
        text: what is sealed.
        bound: what must be the same where it is opened; it is not sent.
        number: of the text; no two texts under one key have the same.
    """
    return ChaCha20Poly1305(key).encrypt(number.to_bytes(12, "big"), text, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes, number: int) -> bytes | None:
    """What :func:`seal` sealed; None where key, text, number or what it is bound to are others."""
    try:
        return ChaCha20Poly1305(key).decrypt(number.to_bytes(12, "big"), sealed, bound)
    except InvalidTag:
        return None

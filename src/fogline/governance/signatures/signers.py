"""Developers by their public keys; knowing one costs nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from fogline.governance.errors import SignatureError
from fogline.governance.subject import check_name

SCHEME = "ed25519:"
KEY_BYTES = 32
LONGEST_LINE = 200


class Signer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A developer's name and public key. The key decides; the name is for people.

    Raises:
        ValueError: the name cannot be used, or the key has not 32 bytes.
    """

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public_key) != KEY_BYTES:
            raise ValueError(f"an Ed25519 key has {KEY_BYTES} bytes, not {len(self.public_key)}")

    @property
    def key(self) -> str:
        """The key as text: ``ed25519:BASE64``."""
        return SCHEME + base64.b64encode(self.public_key).decode()

    @property
    def text(self) -> str:
        """The signer in one line, for mails and policy files: ``ana ed25519:BASE64``."""
        return f"{self.name} {self.key}"

    @property
    def fingerprint(self) -> str:
        """A short name of the key, to be compared by people: 32 hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self.public_key).hexdigest()[:32]

    @classmethod
    def parse(cls, text: str) -> Signer:
        """The signer of a line ``name ed25519:BASE64``.

        Raises:
            SignatureError: it is none.
        """
        parts = text[: LONGEST_LINE + 1].split()
        if len(text) > LONGEST_LINE or len(parts) != 2:
            raise SignatureError(f"A signer is written as: name {SCHEME}BASE64")
        return cls.of(parts[0], parts[1])

    @classmethod
    def of(cls, name: str, key: str) -> Signer:
        """The signer with that name and that key (``ed25519:BASE64``).

        Raises:
            SignatureError: the name or the key is none.
        """
        try:
            public = base64.b64decode(key[len(SCHEME) : LONGEST_LINE], validate=True)
            signer = cls(name, public)
        except (binascii.Error, ValueError) as error:
            raise SignatureError(f"The signer {name[:80]!r} cannot be read: {error}.") from None
        if signer.key != key:
            raise SignatureError(f"The key of the signer {name} must be written as {SCHEME}BASE64.")
        return signer

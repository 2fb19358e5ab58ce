"""Developers' signing keys (Ed25519), and what is signed with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fogline.governance.errors import SignatureError
from fogline.governance.safe_files import make_private_folder, read_bounded, write_new
from fogline.governance.signatures.envelope import parse_envelope, seal, signed_bytes
from fogline.governance.signatures.signers import Signer
from fogline.storage.atomic import PRIVATE

Claim = TypeVar("Claim")
LARGEST_FILE = 4096
HEAD = "# fogline signing key of "


class SigningKey:
    """A developer's private key. Make one with :meth:`create` or :meth:`load`."""

    def __init__(self, key: Ed25519PrivateKey, name: str) -> None:
        self._key = key
        self.signer = Signer(name, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def __repr__(self) -> str:
        return f"SigningKey({self.signer.text!r})"

    @classmethod
    def create(cls, path: Path, name: str) -> SigningKey:
        """A new key in a file that only its owner can read.

        Raises:
            SignatureError: the file exists, cannot be written, or the name cannot be used.
        """
        try:
            key = cls(Ed25519PrivateKey.generate(), name)
        except ValueError as error:
            raise SignatureError(f"The {error}.") from None
        pem = key._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            make_private_folder(path.parent)
            write_new(path, f"{HEAD}{name}\n".encode() + pem, PRIVATE)
        except FileExistsError:
            raise SignatureError(f"{path} exists already; a key is not replaced.") from None
        except OSError as error:
            raise SignatureError(f"The key cannot be written to {path}: {error.strerror}.") from error
        return key

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """The key of a file.

        Raises:
            SignatureError: there is none, it is damaged, or others can read it.
        """
        try:
            mode = path.stat().st_mode & 0o777
            data = read_bounded(path, LARGEST_FILE)
        except OSError as error:
            raise SignatureError(f"The signing key {path} cannot be read: {error.strerror}.") from error
        if os.name == "posix" and mode & 0o077:
            raise SignatureError(f"Others can read or change {path} (mode {mode:04o}); run: chmod 600 {path}")
        head, _, pem = data.partition(b"\n")
        try:
            name = head.decode("ascii").removeprefix(HEAD)
            key = load_pem_private_key(pem, password=None)
            if not isinstance(key, Ed25519PrivateKey):
                raise ValueError("another kind of key")
            return cls(key, name)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SignatureError(f"{path} holds no signing key of Fogline's.") from None

    def sign(self, message: bytes) -> bytes:
        """The bare signature (64 bytes) under a message; :func:`sign` is what one wants."""
        return self._key.sign(message)


def sign(payload_type: str, payload: bytes, key: SigningKey) -> bytes:
    """A signed envelope (DSSE, JSON).

    Args:
        payload_type: what the payload is, such as ``application/vnd.fogline.bundle+json``.
        payload: any bytes.
        key: who signs.
    """
    return seal(payload_type, payload, key.sign, key.signer.fingerprint)


def verify_own(
    envelope: bytes, payload_type: str, read: Callable[[bytes], Claim], signer: Callable[[Claim], Signer]
) -> Claim:
    """What an envelope holds that says itself who signed it, if that one did. Whether that one's word counts is for
    others to say.

    Args:
        envelope: what :func:`sign` gave.
        payload_type: what the payload must be.
        read: gives what a payload says.
        signer: gives whom that names.

    Raises:
        SignatureError: it is no envelope, of another type, or somebody else signed it; and whatever ``read`` raises.
    """
    claim = read(parse_envelope(envelope, payload_type).payload)
    verify(envelope, payload_type, [signer(claim)])
    return claim


def verify(envelope: bytes, payload_type: str, signers: Iterable[Signer]) -> tuple[bytes, Signer]:
    """The payload of an envelope, and which of the signers signed it.

    Args:
        envelope: what :func:`sign` gave.
        payload_type: what the payload must be.
        signers: whose signature is good here.

    Raises:
        SignatureError: it is no envelope, of another type, or signed by none of them.
    """
    parsed = parse_envelope(envelope, payload_type)
    message = signed_bytes(parsed.payload_type, parsed.payload)
    for signer in signers:
        try:
            Ed25519PublicKey.from_public_bytes(signer.public_key).verify(parsed.signatures[0].sig, message)
        except (InvalidSignature, ValueError):
            continue
        return parsed.payload, signer
    raise SignatureError("The envelope is not signed by anybody whose signature is good here, or it was changed.")

"""Metadata and the signatures under it, with Fogline's own key files."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast

from tuf.api.serialization import DeserializationError

from fogline.governance.errors import SignatureError, TrustError
from fogline.governance.signatures.signers import Signer
from fogline.governance.signatures.signing import SigningKey
from fogline.registry.trust.names import MetadataRole
from fogline.registry.trust.terms import Metadata, Root, Signature, Snapshot, SSlibKey, Targets, Timestamp

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class MetadataError(TrustError):
    """Metadata that cannot be read, or that the cloud or the operator must not take over."""


def seal(signed: T, *keys: SigningKey) -> bytes:
    """The bytes of metadata, signed by the keys."""
    metadata = Metadata(signed)
    body = metadata.signed_bytes
    for key in keys:
        name = key.signer.fingerprint
        metadata.signatures[name] = Signature(name, key.sign(body).hex())
    return metadata.to_bytes()


def unseal(kind: type[T], data: bytes) -> Metadata[T]:
    """Metadata of one's own, or that is verified next.

    Raises:
        MetadataError: it is none of this kind.
    """
    try:
        metadata = Metadata.from_bytes(data)
    except DeserializationError:
        raise MetadataError(f"The {kind.type} metadata of the releases cannot be read.") from None
    if not isinstance(metadata.signed, kind):
        raise MetadataError(f"What should be {kind.type} metadata of the releases is of another kind.")
    return cast("Metadata[T]", metadata)


def public_half(signer: Signer) -> SSlibKey:
    """A key as metadata names it."""
    return SSlibKey(signer.fingerprint, "ed25519", "ed25519", {"public": signer.public_key.hex()})


def moment(unix: float) -> datetime:
    """A Unix time as metadata has it."""
    return datetime.fromtimestamp(unix, UTC)


def make_keys(folder: Path, roles: Iterable[MetadataRole]) -> dict[MetadataRole, SigningKey]:
    """New keys in a folder that only its owner can enter. Older ones of the same roles stay beside them.

    Raises:
        SignatureError: they cannot be written.
    """
    return {role: SigningKey.create(folder / f"{role}-{secrets.token_hex(4)}.key", role) for role in roles}


def find_key(folder: Path, role: MetadataRole, wanted: Collection[str]) -> SigningKey:
    """The key of a role that the metadata names.

    Args:
        folder: where its file lies.
        role: what it signs.
        wanted: fingerprints of the keys that count.

    Raises:
        SignatureError: it is not there, damaged, or others can read it.
    """
    for path in sorted(folder.glob(f"{role}-*.key")):
        key = SigningKey.load(path)
        if key.signer.fingerprint in wanted:
            return key
    raise SignatureError(f"{folder} does not hold the key for {role} that counts; bring it back from its backup.")

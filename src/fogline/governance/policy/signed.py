"""A policy file that its owner has signed: it cannot be changed on the way, nor an older one be put back by mistake.

Beside ``policy.toml`` stand ``owner.pub``, a line with the owner's name and public key, which pins who must sign, and
``policy.toml.sig``. Without ``owner.pub`` whoever can write the file is its owner.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import SignatureError, SitePolicyError
from fogline.governance.policy.terms import OWNER
from fogline.governance.safe_files import read_bounded
from fogline.governance.signatures.envelope import LARGEST, parse_envelope
from fogline.governance.signatures.signers import LONGEST_LINE, Signer
from fogline.governance.signatures.signing import SigningKey, sign, verify
from fogline.storage.atomic import write_file

PAYLOAD_TYPE = "application/vnd.fogline.policy+json"
FORMAT = 1
ENDING = ".sig"


class SignedPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an owner signs of a policy."""

    format: int
    serial: int
    """Goes up with each signature: a node that has seen a higher one takes none below it."""
    digest: str
    """SHA-256 of the file, in hexadecimal."""


def sign_policy(path: Path, key: SigningKey) -> int:
    """Write the signature of a policy file beside it; its serial number, one above that of the signature before.

    Raises:
        SitePolicyError: a file cannot be read or written.
    """
    signature = signature_of(path)
    try:
        data = path.read_bytes()
        before = read_bounded(signature, LARGEST) if signature.exists() else b""
        serial = 1 + (_claimed(before).serial if before else 0)
        payload = msgspec.json.encode(SignedPolicy(FORMAT, serial, hashlib.sha256(data).hexdigest()))
        write_file(signature, sign(PAYLOAD_TYPE, payload, key))
    except OSError as error:
        raise SitePolicyError(f"The policy {path} cannot be signed: {error.strerror}.") from error
    return serial


def verified_serial(path: Path, data: bytes) -> int:
    """The serial number under which the owner signed a policy; 0 where no owner is pinned.

    Args:
        path: of the policy.
        data: what it says.

    Raises:
        SitePolicyError: the owner who is pinned has not signed it, or that cannot be read.
    """
    pin, signature = path.with_name(OWNER), signature_of(path)
    if not pin.exists():
        return 0
    try:
        owner = Signer.parse(read_bounded(pin, LONGEST_LINE).decode("utf-8", errors="replace"))
        envelope = read_bounded(signature, LARGEST) if signature.exists() else b""
    except OSError as error:
        raise SitePolicyError(f"The signature of the policy {path} cannot be read: {error.strerror}.") from error
    except SignatureError as error:
        raise SitePolicyError(f"{pin} names no owner: {error}") from None
    said = f"The policy {path} is not signed by its owner {owner.name} ({pin}) as it stands"
    how = f"let the owner look at it, and run: fogline policy sign {path} --key owner.key"
    try:
        payload, _ = verify(envelope, PAYLOAD_TYPE, [owner])
        signed = msgspec.json.decode(payload, type=SignedPolicy)
    except (SignatureError, *UNREADABLE):
        raise SitePolicyError(f"{said}; {how}") from None
    if signed.digest != hashlib.sha256(data).hexdigest() or signed.format != FORMAT:
        raise SitePolicyError(f"{said}: it was changed since; {how}")
    return signed.serial


def signature_of(path: Path) -> Path:
    """Where the signature of a policy lies."""
    return path.with_name(path.name + ENDING)


def _claimed(envelope: bytes) -> SignedPolicy:
    """What a signature says, whoever made it."""
    try:
        return msgspec.json.decode(parse_envelope(envelope, PAYLOAD_TYPE).payload, type=SignedPolicy)
    except (SignatureError, *UNREADABLE):
        raise SitePolicyError("The signature of before cannot be read; delete it, and sign again.") from None

"""Signed envelopes (DSSE, https://github.com/secure-systems-lab/dsse): a payload, its type and who signed both.

The type is under the signature too, so that what was signed as one thing cannot be shown as another.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import SignatureError

LARGEST = 4 * 1024 * 1024
"""Bytes of an envelope."""


class EnvelopeSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature; ``keyid`` is a hint for people and decides nothing."""

    sig: bytes
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What was signed. Bytes stand as base64 in its JSON."""

    payload: bytes
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a signature covers: DSSE's pre-authentication encoding, which has one reading only."""
    kind = payload_type.encode()
    return b" ".join((b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload))


def seal(payload_type: str, payload: bytes, sign: Callable[[bytes], bytes], keyid: str = "") -> bytes:
    """The envelope (JSON) of a payload.

    Args:
        payload_type: what the payload is, such as ``application/vnd.fogline.bundle+json``.
        payload: any bytes.
        sign: gives a signature under what it gets.
        keyid: which key that is, as a hint for people.
    """
    signature = EnvelopeSignature(sign(signed_bytes(payload_type, payload)), keyid)
    return msgspec.json.encode(Envelope(payload, payload_type, (signature,)))


def parse_envelope(data: bytes, payload_type: str) -> Envelope:
    """An envelope of the type that the caller expects. Nothing is verified yet.

    Raises:
        SignatureError: it is none, too long, without exactly one signature, or of another type.
    """
    if len(data) > LARGEST:
        raise SignatureError(f"The signed envelope has {len(data)} bytes; at most {LARGEST} are read.")
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except UNREADABLE:
        raise SignatureError("The signed envelope cannot be read.") from None
    if envelope.payload_type != payload_type:
        raise SignatureError(f"The envelope does not hold what is wanted here, {payload_type}.")
    if len(envelope.signatures) != 1:
        raise SignatureError("The envelope must have exactly one signature.")
    return envelope

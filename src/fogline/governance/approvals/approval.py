"""An owner's word on a job, signed with the owner's key: who has the public key can verify it offline, and nobody else
can give it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import ApprovalError, SignatureError
from fogline.governance.signatures.signers import Signer
from fogline.governance.subject import check_patterns

if TYPE_CHECKING:
    from fogline.governance.signatures.signing import SigningKey

PAYLOAD_TYPE = "application/vnd.fogline.approval+json"
FORMAT = 1
LONGEST_REASON = 1000
Verdict = Literal["approve", "refuse"]


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an owner says to one job."""

    format: int
    job: str
    """The job's id at the cloud: the word is for this one, and for no other run of the same code."""
    bundle: str
    """SHA-256 of the bundle, in hexadecimal: the code and the job as the developer signed them."""
    verdict: Verdict
    reason: str
    owner: Signer
    at: float
    """Unix time, by the owner's clock."""
    nodes: tuple[str, ...] = ()
    """Patterns of the nodes that it is said for; none at all: for all whose policy names the owner."""


def sign_approval(
    job: str, bundle: str, verdict: Verdict, reason: str, key: SigningKey, at: float, nodes: tuple[str, ...] = ()
) -> bytes:
    """An owner's word as an envelope.

    Raises:
        ApprovalError: the reason is too long, or a refusal has none, or a pattern is none.
    """
    from fogline.governance.signatures.signing import sign  # Not above: until a job comes, a device needs no library.

    if len(reason) > LONGEST_REASON:
        raise ApprovalError(f"The reason has {len(reason)} characters; {LONGEST_REASON} are the most.")
    if verdict == "refuse" and not reason.strip():
        raise ApprovalError("A refusal needs a reason, for the developer: give one with --reason.")
    try:
        check_patterns(nodes)
    except ValueError as error:
        raise ApprovalError(f"The approval names no nodes: {error}.") from None
    return sign(
        PAYLOAD_TYPE, msgspec.json.encode(Approval(FORMAT, job, bundle, verdict, reason, key.signer, at, nodes)), key
    )


def read_approval(envelope: bytes) -> Approval:
    """The word in an envelope, if the owner whom it names has signed it. Whether that owner's word counts is for the
    policy of a site to say.

    Raises:
        ApprovalError: it cannot be read, or somebody else signed it.
    """
    from fogline.governance.signatures.signing import verify_own  # See above.

    try:
        approval = verify_own(envelope, PAYLOAD_TYPE, _decode, lambda claim: claim.owner)
    except SignatureError as error:
        raise ApprovalError(f"The approval cannot be trusted: {error}") from None
    if approval.format != FORMAT:
        raise ApprovalError(f"The approval has format {approval.format}; this version of Fogline reads {FORMAT}.")
    return approval


def _decode(payload: bytes) -> Approval:
    try:
        return msgspec.json.decode(payload, type=Approval)
    except UNREADABLE:
        raise ApprovalError("The approval cannot be read.") from None

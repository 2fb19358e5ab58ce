"""How a job stands with the owners whose word counts somewhere: approved, refused, or waiting for some of them.

The cloud asks this by its own policy before a job begins, and every site again by its own before its data is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from fogline.governance.approvals.approval import Approval, read_approval
from fogline.governance.errors import ApprovalError
from fogline.governance.policy.policy import rule_for
from fogline.governance.policy.terms import Policy
from fogline.governance.signatures.signers import Signer
from fogline.governance.subject import fits

if TYPE_CHECKING:
    from fogline.governance.bundles.manifest import Manifest


class Standing(msgspec.Struct, frozen=True):
    """What the owners' words come to."""

    state: Literal["approved", "refused", "waiting"]
    why: str
    """A sentence without its full stop."""
    missing: tuple[str, ...] = ()
    """Names of owners who have not spoken yet."""


def believed(envelopes: Iterable[bytes], job: str, bundle: str, node: str = "") -> list[Approval]:
    """The words that hold for a job, verified; what is for another job, other code or other nodes is left out, and so
    is what nobody has signed.

    Args:
        envelopes: as they came.
        job: its id.
        bundle: SHA-256 of its bundle.
        node: the node that asks; empty: any.
    """
    found: list[Approval] = []
    for envelope in envelopes:
        try:
            approval = read_approval(envelope)
        except ApprovalError:
            continue  # Whoever handed it on has forged it, and it counts for nothing.
        if (approval.job, approval.bundle) == (job, bundle) and (not node or fits(node, approval.nodes)):
            found.append(approval)
    return found


def standing_under(policy: Policy, manifest: Manifest, words: Iterable[Approval]) -> Standing | None:
    """How a job stands where a policy holds; None where it needs no approval, or is not allowed at all.

    Args:
        policy: the owner's.
        manifest: what the developer signed.
        words: those that hold for the job there.
    """
    rule = rule_for(policy, manifest)
    return standing(policy.owners.signers, policy.owners.needed, words) if rule is not None and rule.approval else None


def standing(owners: Sequence[Signer], needed: int | None, approvals: Iterable[Approval]) -> Standing:
    """How a job stands.

    Args:
        owners: whose word counts.
        needed: how many of them must approve; None: all.
        approvals: the words that hold for it; of one owner's, the newest counts.
    """
    said: dict[bytes, Approval] = {}
    for approval in sorted(approvals, key=lambda approval: approval.at):
        said[approval.owner.public_key] = approval
    needed = len(owners) if needed is None else needed
    words = [(owner, said[owner.public_key]) for owner in owners if owner.public_key in said]
    approved = [owner.name for owner, word in words if word.verdict == "approve"]
    refused = [f"{owner.name}: {word.reason}" for owner, word in words if word.verdict == "refuse"]
    missing = tuple(owner.name for owner in owners if owner.public_key not in said)
    if owners and len(approved) >= needed:
        return Standing("approved", f"approved by {', '.join(approved)}", missing)
    if refused and len(owners) - len(refused) < needed:
        return Standing("refused", f"refused by {'; '.join(refused)}", missing)
    of = "" if needed == len(owners) else f"{needed - len(approved)} of "
    return Standing("waiting", f"waiting for the approval of {of}{', '.join(missing) or 'an owner'}", missing)

"""Who may do what: identities, tokens, signatures, bundles of code and a site's own policy.

Names are imported when they are first used: a device must not pay for what only the cloud needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fogline.governance.bundles.bundle import Bundle, open_bundle, pack
    from fogline.governance.bundles.manifest import Manifest
    from fogline.governance.errors import TokenRefusedError, TrustError
    from fogline.governance.identity.authority import Authority
    from fogline.governance.identity.certificates import (
        certificate_of_peer,
        read_certificate,
        subject_of,
        subject_of_peer,
    )
    from fogline.governance.identity.identity import Identity, NewKey
    from fogline.governance.identity.revocation import Revocations
    from fogline.governance.identity.tokens import Token, TokenRecord, create_token, read_token, redeem
    from fogline.governance.policy.machine import local_offers
    from fogline.governance.policy.offers import Needs, Offers, missing
    from fogline.governance.policy.policy import allowed_now, decide, opens_at, read_policy
    from fogline.governance.policy.terms import Decision, Policy
    from fogline.governance.signatures.signers import Signer
    from fogline.governance.signatures.signing import SigningKey
    from fogline.governance.subject import Role, Subject, dns_name

_HOMES = {
    "Authority": "identity.authority",
    "Bundle": "bundles.bundle",
    "Decision": "policy.terms",
    "Identity": "identity.identity",
    "Manifest": "bundles.manifest",
    "Needs": "policy.offers",
    "NewKey": "identity.identity",
    "Offers": "policy.offers",
    "Policy": "policy.terms",
    "Revocations": "identity.revocation",
    "Role": "subject",
    "Signer": "signatures.signers",
    "SigningKey": "signatures.signing",
    "Subject": "subject",
    "Token": "identity.tokens",
    "TokenRecord": "identity.tokens",
    "TokenRefusedError": "errors",
    "TrustError": "errors",
    "allowed_now": "policy.policy",
    "certificate_of_peer": "identity.certificates",
    "create_token": "identity.tokens",
    "decide": "policy.policy",
    "dns_name": "subject",
    "local_offers": "policy.machine",
    "missing": "policy.offers",
    "open_bundle": "bundles.bundle",
    "opens_at": "policy.policy",
    "pack": "bundles.bundle",
    "read_certificate": "identity.certificates",
    "read_policy": "policy.policy",
    "read_token": "identity.tokens",
    "redeem": "identity.tokens",
    "subject_of": "identity.certificates",
    "subject_of_peer": "identity.certificates",
}

__all__ = [
    "Authority",
    "Bundle",
    "Decision",
    "Identity",
    "Manifest",
    "Needs",
    "NewKey",
    "Offers",
    "Policy",
    "Revocations",
    "Role",
    "Signer",
    "SigningKey",
    "Subject",
    "Token",
    "TokenRecord",
    "TokenRefusedError",
    "TrustError",
    "allowed_now",
    "certificate_of_peer",
    "create_token",
    "decide",
    "dns_name",
    "local_offers",
    "missing",
    "open_bundle",
    "opens_at",
    "pack",
    "read_certificate",
    "read_policy",
    "read_token",
    "redeem",
    "subject_of",
    "subject_of_peer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fogline.governance' has no attribute '{name}'")
    return getattr(import_module(f"fogline.governance.{_HOMES[name]}"), name)

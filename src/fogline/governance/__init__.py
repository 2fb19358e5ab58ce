"""Who may do what: identities, tokens, signatures, bundles of code and a site's own policy.

Names are imported when they are first used: a device must not pay for what only the cloud needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fogline.governance.authority import Authority
    from fogline.governance.bundle import Bundle, open_bundle, pack
    from fogline.governance.certificates import certificate_of_peer, read_certificate, subject_of, subject_of_peer
    from fogline.governance.errors import TokenRefusedError, TrustError
    from fogline.governance.identity import Identity, NewKey
    from fogline.governance.machine import local_offers
    from fogline.governance.manifest import Manifest
    from fogline.governance.offers import Needs, Offers, missing
    from fogline.governance.policy import Decision, Policy, allowed_now, decide, opens_at, read_policy
    from fogline.governance.revocation import Revocations
    from fogline.governance.signers import Signer
    from fogline.governance.signing import SigningKey
    from fogline.governance.subject import Role, Subject, dns_name
    from fogline.governance.tokens import Token, TokenRecord, create_token, read_token, redeem

_HOMES = {
    "Authority": "authority",
    "Bundle": "bundle",
    "Decision": "policy",
    "Identity": "identity",
    "Manifest": "manifest",
    "Needs": "offers",
    "NewKey": "identity",
    "Offers": "offers",
    "Policy": "policy",
    "Revocations": "revocation",
    "Role": "subject",
    "Signer": "signers",
    "SigningKey": "signing",
    "Subject": "subject",
    "Token": "tokens",
    "TokenRecord": "tokens",
    "TokenRefusedError": "errors",
    "TrustError": "errors",
    "allowed_now": "policy",
    "certificate_of_peer": "certificates",
    "create_token": "tokens",
    "decide": "policy",
    "dns_name": "subject",
    "local_offers": "machine",
    "missing": "offers",
    "open_bundle": "bundle",
    "opens_at": "policy",
    "pack": "bundle",
    "read_certificate": "certificates",
    "read_policy": "policy",
    "read_token": "tokens",
    "redeem": "tokens",
    "subject_of": "certificates",
    "subject_of_peer": "certificates",
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

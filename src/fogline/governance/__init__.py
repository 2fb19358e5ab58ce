"""Who may do what: identities, tokens, signatures, bundles of code and a site's own policy.

Names are imported when they are first used: a device must not pay for what only the cloud needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fogline.governance.authority import Authority
    from fogline.governance.certificates import certificate_of_peer, read_certificate, subject_of, subject_of_peer
    from fogline.governance.errors import TrustError
    from fogline.governance.identity import Identity, NewKey
    from fogline.governance.subject import Role, Subject, dns_name
    from fogline.governance.tokens import Token, TokenRecord, create_token, read_token, redeem

_HOMES = {
    "Authority": "authority",
    "Identity": "identity",
    "NewKey": "identity",
    "Role": "subject",
    "Subject": "subject",
    "Token": "tokens",
    "TokenRecord": "tokens",
    "TrustError": "errors",
    "certificate_of_peer": "certificates",
    "create_token": "tokens",
    "dns_name": "subject",
    "read_certificate": "certificates",
    "read_token": "tokens",
    "redeem": "tokens",
    "subject_of": "certificates",
    "subject_of_peer": "certificates",
}

__all__ = [
    "Authority",
    "Identity",
    "NewKey",
    "Role",
    "Subject",
    "Token",
    "TokenRecord",
    "TrustError",
    "certificate_of_peer",
    "create_token",
    "dns_name",
    "read_certificate",
    "read_token",
    "redeem",
    "subject_of",
    "subject_of_peer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fogline.governance' has no attribute '{name}'")
    return getattr(import_module(f"fogline.governance.{_HOMES[name]}"), name)

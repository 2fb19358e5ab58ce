"""How a node gets the first root of releases: signed by the fleet's authority, which it trusts since it joined.

Any fog may hand the binding on. It counts only for a node that knows no root yet; from then on the chain of roots does.
"""

from __future__ import annotations

from fogline.governance.errors import CertificateError, SignatureError
from fogline.governance.identity.authority import Authority, open_signed
from fogline.governance.signatures.envelope import seal
from fogline.registry.trust.signing import MetadataError

BINDING = "binding.json"
"""Its name among the small files that mirrors hand on."""
PAYLOAD_TYPE = "application/vnd.fogline.release-root+json"


def bind_root(authority: Authority, root: bytes) -> bytes:
    """The root metadata in an envelope of the authority."""
    return seal(PAYLOAD_TYPE, root, authority.sign)


def bound_root(envelope: bytes, authority_root: bytes) -> bytes:
    """The root metadata of an envelope.

    Args:
        envelope: what :func:`bind_root` gave.
        authority_root: the authority's certificate (PEM), from the node's identity.

    Raises:
        MetadataError: the authority did not sign it.
    """
    try:
        return open_signed(envelope, PAYLOAD_TYPE, authority_root)
    except (SignatureError, CertificateError) as error:
        raise MetadataError(f"The first root of the releases cannot be used: {error}") from None

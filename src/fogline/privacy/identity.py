"""Whose key it is: what a member of a round shows, so that nobody can be given a stranger's key for a peer's.

On real nodes the key of a node's certificate signs the key that it brings into the round. A simulation has no
certificates: there an authority that the job's seed decides signs in their place.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

PURPOSE = b"fogline exchange key, version 1\n"
LENGTH = 2
"""Bytes that say how long a certificate is."""
LONGEST = 16 * 1024 + LENGTH + 80
"""Bytes of a proof at most; real ones have about 1,000."""


class Identity(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """What a node brings into a round."""

    seed: bytes
    """32 random bytes, from which everything secret in the round comes."""
    root: bytes
    """Whom it trusts: the authority's certificate (PEM); in a simulation a public key of 32 bytes."""
    proof: bytes
    """Says whose :func:`round_key` it is."""
    at: float = 0.0
    """Unix time of the request, for which certificates must hold."""

    def __repr__(self) -> str:
        return "Identity(...)"  # It holds a secret.


def round_key(seed: bytes) -> tuple[bytes, bytes]:
    """The key pair, private and public (32 bytes each), that a node's identity vouches for in a round."""
    from fogline.privacy.agreement import derive, public_key

    private = derive(seed, "round key")
    return private, public_key(private)


def statement(public: bytes) -> bytes:
    """What a node's key signs."""
    return PURPOSE + public


def proof_of(certificate: bytes, signature: bytes) -> bytes:
    """A proof: the certificate (PEM), and the signature of its key under :func:`statement`."""
    return len(certificate).to_bytes(LENGTH, "big") + certificate + signature


def stand_in(seed: int, name: str, drawn: bytes) -> Identity:
    """The identity of a simulated device.

    Args:
        seed: of the job.
        name: of the device.
        drawn: its 32 random bytes of the round.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fogline.privacy.agreement import derive

    authority = Ed25519PrivateKey.from_private_bytes(derive(str(seed).encode(), "simulated authority"))
    _, public = round_key(drawn)
    proof = authority.sign(_named(name, public))
    return Identity(drawn, authority.public_key().public_bytes_raw(), proof)


def doubt(root: bytes, at: float, proof: bytes, name: str, public: bytes) -> str:
    """Why a key is not believed to be that member's; empty if it is.

    Args:
        root: whom the asker trusts.
        at: Unix time for which a certificate must hold.
        proof: what the member showed.
        name: who it says that it is.
        public: its round key.
    """
    if len(root) == 32:
        return "" if _stood_in(root, proof, name, public) else f"{name} has not shown that its key is its own"
    length = int.from_bytes(proof[:LENGTH], "big")
    certificate, signature = proof[LENGTH : LENGTH + length], proof[LENGTH + length :]
    return _certified(root, at, certificate, signature, name, public)


# A simulation asks for the same keys once for every peer.
@lru_cache(maxsize=1 << 14)
def _stood_in(root: bytes, proof: bytes, name: str, public: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(root).verify(proof, _named(name, public))
    except InvalidSignature:
        return False
    return True


def _certified(root: bytes, at: float, certificate: bytes, signature: bytes, name: str, public: bytes) -> str:
    from fogline.governance.errors import CertificateError
    from fogline.governance.identity.proofs import check_signed_by

    try:
        facts = _issued(certificate, root)
        if not facts.starts <= at < facts.expires:
            return f"the certificate of {name} does not hold now"
        if (facts.subject.name, facts.subject.role) != (name, "device"):
            return f"{name} shows the certificate of another node"
        check_signed_by(certificate, signature, statement(public))
    except CertificateError as error:
        return f"{name} has not shown that its key is its own: {error}"
    return ""


@lru_cache(maxsize=1 << 12)
def _issued(certificate: bytes, root: bytes):
    from fogline.governance.identity.certificates import check_issued, read_certificate

    return check_issued(certificate, root, read_certificate(certificate).starts)


def _named(name: str, public: bytes) -> bytes:
    return statement(public) + name.encode()

"""Whose key it is: what a member of a round shows, so that nobody can be given a stranger's key for a peer's.

Each member has a key pair that lasts as long as it takes part in a job. On real nodes the key of the node's certificate
signs it. A simulation has no certificates: there an authority that the job's seed decides signs in their place.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fogline.governance.identity.credentials import CertificateFacts

PURPOSE = b"fogline key for exchanges, version 1"
LENGTH = 2
"""Bytes that say how long a certificate is."""
LONGEST = 16 * 1024 + LENGTH + 80
"""Bytes of a proof at most; real ones have about 1,000."""
STAND_IN = 32
"""Bytes of the root of a simulation."""


class Trust(msgspec.Struct, frozen=True):
    """How a member looks at the keys of others."""

    root: bytes
    """Whom it trusts: the authority's certificate (PEM); in a simulation a public key of 32 bytes."""
    job: str = ""
    """For which job keys must be; a simulation has no name for its own."""
    at: float = 0.0
    """Unix time at which certificates must hold."""
    role: str = "device"
    """Of all members: a fog is no member of a round of devices, nor the other way round."""

    def doubt(self, proof: bytes, name: str, public: bytes) -> str:
        """Why a key is not believed to be that member's; empty if it is.

        Args:
            proof: what the member showed.
            name: who it says that it is.
            public: its key.
        """
        said = statement(self.job, name, public)
        if len(self.root) == STAND_IN:
            return "" if _stood_in(self.root, proof, said) else f"{name} has not shown that its key is its own"
        length = int.from_bytes(proof[:LENGTH], "big")
        certificate, signature = proof[LENGTH : LENGTH + length], proof[LENGTH + length :]
        return self._doubt_certificate(certificate, signature, name, said)

    def _doubt_certificate(self, certificate: bytes, signature: bytes, name: str, said: bytes) -> str:
        from fogline.governance.errors import CertificateError

        try:
            facts = _signed_by(certificate, self.root, signature, said)
        except CertificateError as error:
            return f"{name} has not shown that its key is its own: {error}"
        if not facts.starts <= self.at < facts.expires:
            return f"the certificate of {name} does not hold now"
        if (facts.subject.name, facts.subject.role) != (name, self.role):
            return f"{name} shows the certificate of another node"
        return ""


class AgreementIdentity(msgspec.Struct, frozen=True):
    """Who a node is in the rounds of a job."""

    secret: bytes
    """Its private key, 32 bytes."""
    proof: bytes
    """Says whose the key is."""
    trust: Trust

    def __repr__(self) -> str:
        return "AgreementIdentity(...)"  # It holds a secret.


def statement(job: str, name: str, public: bytes) -> bytes:
    """What is signed: that this key is that member's, in that job."""
    return b"\n".join((PURPOSE, job.encode(), name.encode(), public))


def proof_of(certificate: bytes, signature: bytes) -> bytes:
    """A proof: the certificate (PEM), and the signature of its key under :func:`statement`."""
    return len(certificate).to_bytes(LENGTH, "big") + certificate + signature


@lru_cache(maxsize=1 << 14)
def stand_in(seed: int, name: str) -> AgreementIdentity:
    """The identity of a simulated device.

    Args:
        seed: of the job.
        name: of the device.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fogline.privacy.agreement import derive, public_key

    whole = seed.to_bytes(64, "big", signed=True)
    authority = Ed25519PrivateKey.from_private_bytes(derive(whole, "simulated authority"))
    secret = derive(whole, "simulated device", name.encode())
    proof = authority.sign(statement("", name, public_key(secret)))
    return AgreementIdentity(secret, proof, Trust(authority.public_key().public_bytes_raw()))


# Keys last longer than a round, and in a simulation every peer asks for the same.
@lru_cache(maxsize=1 << 14)
def _stood_in(root: bytes, proof: bytes, said: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(root).verify(proof, said)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=1 << 14)
def _signed_by(certificate: bytes, root: bytes, signature: bytes, said: bytes) -> CertificateFacts:
    """What a certificate says, if the authority issued it, whenever it holds, and its key signed that."""
    from fogline.governance.identity.certificates import check_issued, read_certificate
    from fogline.governance.identity.proofs import check_signed_by

    facts = check_issued(certificate, root, read_certificate(certificate).starts)
    check_signed_by(certificate, signature, said)
    return facts

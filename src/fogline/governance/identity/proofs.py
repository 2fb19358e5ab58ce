"""What a node signs with the key of its certificate, and how others check that."""

from __future__ import annotations

from fogline.governance.errors import CertificateError
from fogline.governance.identity.credentials import Credentials


def signed(identity: Credentials, message: bytes) -> bytes:
    """A node's signature under a message (ECDSA, SHA-256) that nothing else could mean."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(identity.key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def check_signed_by(certificate: bytes, signature: bytes, message: bytes) -> None:
    """Whether the holder of a certificate (PEM) signed a message.

    Raises:
        CertificateError: it did not.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    from fogline.governance.identity.certificates import p256_key, parse_certificate

    try:
        p256_key(parse_certificate(certificate).public_key()).verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise CertificateError("It is not signed by the key of the certificate that came with it.") from None

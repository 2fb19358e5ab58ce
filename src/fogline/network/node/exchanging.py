"""Who a node is in an exchange: the key of its certificate signs a key that is used once."""

from __future__ import annotations

import secrets
import time

from fogline.governance.identity.credentials import Credentials
from fogline.governance.identity.proofs import signed
from fogline.privacy.identity import Identity, proof_of, round_key, statement


def drawn_identity(own: Credentials) -> Identity:
    """A fresh seed, and the node's word for the key that comes from it. The worker process, where foreign code runs,
    never sees the key of the certificate."""
    seed = secrets.token_bytes(32)
    _, public = round_key(seed)
    return Identity(seed, own.root, proof_of(own.certificate, signed(own, statement(public))), time.time())

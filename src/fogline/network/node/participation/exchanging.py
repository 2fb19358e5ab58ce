"""Who a node is in the exchanges of a job: the key of its certificate signs a key for that job alone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import msgspec

from fogline.governance.identity.credentials import Credentials
from fogline.governance.identity.proofs import signed
from fogline.privacy.identity import AgreementIdentity, Trust, proof_of, statement


class JobIdentity:
    """A node's identity in a job. The worker process, where foreign code runs, gets that and never the key of the
    certificate.

    Args:
        job: its name.
        credentials: who the node is; after a renewal, with another certificate.
    """

    def __init__(self, job: str, credentials: Callable[[], Credentials]) -> None:
        self._job = job
        self._credentials = credentials
        self._drawn: tuple[bytes, AgreementIdentity] | None = None

    def now(self) -> AgreementIdentity:
        """It, for a request that begins now."""
        own = self._credentials()
        if self._drawn is None or self._drawn[0] != own.certificate:
            self._drawn = own.certificate, self._draw(own)
        identity = self._drawn[1]
        return msgspec.structs.replace(identity, trust=msgspec.structs.replace(identity.trust, at=time.time()))

    def _draw(self, own: Credentials) -> AgreementIdentity:
        from fogline.privacy.agreement import public_key

        secret = secrets.token_bytes(32)
        said = statement(self._job, own.subject.name, public_key(secret))
        trust = Trust(own.root, self._job, role=own.subject.role)
        return AgreementIdentity(secret, proof_of(own.certificate, signed(own, said)), trust)

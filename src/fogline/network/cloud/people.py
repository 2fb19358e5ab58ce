"""People whom a provider of OpenID vouches for: a certificate of the cloud's for each session, and for no longer.

So the cloud knows them, limits them and records what they do as it does with everybody who has joined with a token.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass

import msgspec

from fogline.governance.errors import TrustError
from fogline.governance.identity.authority import Authority
from fogline.governance.subject import Subject
from fogline.network.node.site.admission import AdmissionControl
from fogline.processes.messages import encode
from fogline.storage import Database

TABLE = "person"
SHOWN = 40
"""Characters of a provider's name for somebody that stand in the name here."""
DIGITS = 16
"""Of the hash, in hexadecimal, by which two people whose names begin alike have different names here."""


class ProvidedPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who somebody is to a provider."""

    issuer: str
    id: str
    """The provider's own word for the person (the claim ``sub``), which it gives to nobody else, ever."""

    @property
    def name(self) -> str:
        """The person's name at the cloud. It hangs on nothing that the person could change, so that neither a
        revocation nor what is the person's own is lost with another e-mail address."""
        digest = hashlib.sha256(msgspec.json.encode((self.issuer, self.id))).hexdigest()[:DIGITS]
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", self.id, flags=re.ASCII)[:SHOWN].strip("-_") or "person"
        return f"{plain}-{digest}"


def signs_in(database: Database, name: str) -> bool:
    """Whether it is the name of somebody who has signed in with a provider."""
    return database.get(TABLE, name.lower()) is not None


@dataclass(frozen=True)
class SignedInPeople:
    """Gives people certificates for their sessions.

    Args:
        authority: signs them.
        database: who was here before, so that nobody joins under that name.
        admission: the root's; knows who was revoked.
    """

    authority: Authority
    database: Database
    admission: AdmissionControl

    def knows(self, name: str) -> bool:
        """Whether it is the name of somebody who signs in with a provider."""
        return signs_in(self.database, name)

    def refusal(self, name: str) -> str | None:
        """Why somebody may not be here any more; None: he may. Who was revoked has no token with which to join anew,
        and the provider would let him in again at once: so that holds for good."""
        if name.lower() in self.admission.revocations.names:
            return f"{name} was revoked by an operator of this cloud; ask there"
        return None

    def certify(self, person: ProvidedPerson, subject: Subject, request: bytes, days: float) -> bytes:
        """A certificate (PEM) for one session.

        Args:
            person: who it is.
            subject: as what the cloud is to know the person; its name is :attr:`ProvidedPerson.name`.
            request: certificate signing request (PEM) of the session's key.
            days: how long the session may last.

        Raises:
            TrustError: the person was revoked.
            StorageError: it cannot be kept that the name is taken.
        """
        assert subject.name == person.name
        if why := self.refusal(subject.name):
            raise TrustError(why)
        self.database.put(TABLE, subject.name.lower(), encode(person))
        return self.authority.issue(request, subject, days, time.time())

"""Who is a member: tokens, certificates and their renewal."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from fogline.governance.errors import TrustError
from fogline.governance.identity.authority import Authority, key_of_request
from fogline.governance.identity.certificates import check_issued, key_hash_of
from fogline.governance.identity.credentials import REST
from fogline.governance.identity.proofs import check_signed_by
from fogline.governance.identity.serials import member_since, milliseconds
from fogline.governance.identity.tokens import TokenRecord, create_token, redeem
from fogline.governance.subject import Subject
from fogline.network.cloud.people import ProvidedPerson, SignedInPeople
from fogline.network.cloud.requests import NewToken
from fogline.network.node.site.admission import AdmissionControl
from fogline.network.transport.messages import Certificate, Enrol, ParentAddress, Renew
from fogline.processes.messages import decoder, encode
from fogline.storage import Database

TOKENS, MEMBERS = "token", "member"
DAYS = 30.0
"""Life of a node's certificate; it is renewed after two thirds of it."""


class EnrolledNode(msgspec.Struct, frozen=True):
    """A node that was given a certificate."""

    subject: Subject
    key_hash: str
    since: int
    """When it joined, in milliseconds of Unix time."""
    issued: float
    """Unix time of its newest certificate."""


MEMBER, TOKEN = decoder(EnrolledNode), decoder(TokenRecord)


class Registrar:
    """Gives certificates out and takes them back.

    Args:
        authority: signs them.
        database: tokens, members and revocations.
        admission: the root's; holds the list of revoked nodes.
        parent_address: how children reach the root.
        fogs: where else devices may go.
        days: life of a certificate.
        reserved: names that nobody else may have.
    """

    def __init__(
        self,
        authority: Authority,
        database: Database,
        admission: AdmissionControl,
        parent_address: Callable[[], ParentAddress],
        fogs: Callable[[], tuple[ParentAddress, ...]],
        days: float = DAYS,
        reserved: tuple[str, ...] = (),
    ) -> None:
        self.authority = authority
        self._database = database
        self._admission = admission
        self._parent_address = parent_address
        self._fogs = fogs
        self._days = days
        self.people = SignedInPeople(authority, database, admission)
        self._reserved = {parent_address().name.lower(), *(name.lower() for name in reserved)}

    def token(self, asked: NewToken, by: str) -> str:
        """A new token.

        Raises:
            TrustError: it is impossible.
        """
        record, text = create_token(
            self.authority.root_pem,
            asked.role,
            asked.site,
            asked.uses,
            asked.ttl,
            time.time(),
            asked.names,
            by,
            asked.nodes,
        )
        self._database.put(TOKENS, record.id, encode(record))
        return text

    def enrol(self, asked: Enrol) -> Certificate:
        """A certificate for a node with a token.

        Raises:
            TrustError: the token or the request is not right, or the name is taken.
        """
        key_hash = key_hash_of(key_of_request(asked.request))
        while True:
            body = self._database.get(TOKENS, asked.token)
            record = None if body is None else TOKEN.decode(body)
            used = redeem(record, asked.token, asked.secret, asked.name, asked.role, time.time(), key_hash)
            subject = Subject(asked.name, asked.role, used.site, used.nodes)
            self._check_name(subject, key_hash)
            if used == record or self._database.swap(TOKENS, asked.token, body, encode(used)):
                break  # Else somebody used it at the same moment: look again.
        since = self._admission.revocations.following(asked.name, milliseconds(time.time()))
        self._keep(EnrolledNode(subject, key_hash, since, time.time()))
        return self._certificate(asked.request, subject, since)

    def renew(self, asked: Renew) -> Certificate:
        """The next certificate of a node that has one, and shows it.

        Raises:
            TrustError: the request is not right, or the node was revoked.
        """
        facts = check_issued(asked.certificate, self.authority.root_pem, time.time())
        refusal = self._admission.refusal(facts.subject, facts.serial)
        if refusal is not None:
            raise TrustError(refusal)
        if self.people.knows(facts.subject.name):
            raise TrustError(f"{facts.subject.name} signs in for each session; that certificate is not renewed.")
        check_signed_by(asked.certificate, asked.signature, asked.request)
        key_hash, since = key_hash_of(key_of_request(asked.request)), member_since(facts.serial)
        self._check_pace(facts.subject, key_hash)
        self._keep(EnrolledNode(facts.subject, key_hash, since, time.time()))
        return self._certificate(asked.request, facts.subject, since)

    def sign_in(self, person: ProvidedPerson, subject: Subject, request: bytes, days: float) -> bytes:
        """A certificate for a session of somebody whom a provider vouches for; see :meth:`SignedInPeople.certify`.

        Raises:
            TrustError: the person was revoked, or a member has that name.
            StorageError: it cannot be kept.
        """
        if self._database.get(MEMBERS, subject.name.lower()) is not None:
            raise TrustError(f"A member of this cloud is named {subject.name} already; ask an operator.")
        return self.people.certify(person, subject, request, days)

    def _check_pace(self, subject: Subject, key_hash: str) -> None:
        """Refuse a renewal that comes much too early. Whoever asks again for the same key has lost the answer."""
        body = self._database.get(MEMBERS, subject.name.lower())
        member: EnrolledNode | None = None if body is None else MEMBER.decode(body)
        if member is None or member.key_hash == key_hash:
            return
        age, life = time.time() - member.issued, self._days * 86400
        if 0 <= age < REST * life:
            shown = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            raise TrustError(
                f"The certificate of {subject.name} was issued {age / 60:.0f} minutes ago, and is renewed after "
                f"{life / 5400:.3g} hours. The cloud's clock shows {shown} UTC; if that of {subject.name} "
                "shows the same, another machine uses the same identity."
            )

    def is_member(self, name: str) -> bool:
        """Whether a node or a person of that name ever joined, or signed in."""
        return self._database.get(MEMBERS, name.lower()) is not None or self.people.knows(name)

    def _keep(self, member: EnrolledNode) -> None:
        self._database.put(MEMBERS, member.subject.name.lower(), encode(member))

    def _check_name(self, subject: Subject, key_hash: str) -> None:
        if subject.name.lower() in self._reserved:
            raise TrustError(f"{subject.name} is the name of a part of the cloud; choose another.")
        if self.people.knows(subject.name):
            raise TrustError(f"{subject.name} is the name of somebody who signs in here; choose another.")
        body = self._database.get(MEMBERS, subject.name.lower())
        if body is None:
            return
        member: EnrolledNode = MEMBER.decode(body)
        if member.key_hash != key_hash and not self._admission.revocations.ended(subject.name, member.since):
            raise TrustError(f"There is a node named {subject.name} already; choose another name, or revoke it first.")

    def _certificate(self, request: bytes, subject: Subject, since: int) -> Certificate:
        issued = self.authority.issue(request, subject, self._days, since=since)
        return Certificate(issued, self.authority.root_pem, self._parent_address(), self._fogs())


def member_since_of(database: Database, name: str) -> int | None:
    """When the newest membership of that name began (milliseconds of Unix time); None where none is known."""
    body = database.get(MEMBERS, name.lower())
    return None if body is None else MEMBER.decode(body).since


def has_enrolled(database: Database, name: str, since: int) -> bool:
    """Whether a membership that began at that moment is known here; else a backup has forgotten it."""
    known = member_since_of(database, name)
    return known is not None and known >= since


def void_tokens(database: Database) -> int:
    """Make all tokens useless; how many that were. A backup knows them as they were before they were used up."""
    tokens = [key for key, _ in database.all(TOKENS)]
    for key in tokens:
        database.delete(TOKENS, key)
    return len(tokens)

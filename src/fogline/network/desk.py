"""What people and joining nodes ask of the cloud: the operator's desk, and the door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import msgspec

from fogline.governance.authority import Authority, key_of_request
from fogline.governance.certificates import check_issued, key_hash_of
from fogline.governance.credentials import REST
from fogline.governance.errors import TrustError
from fogline.governance.offers import Needs
from fogline.governance.roles import refusal
from fogline.governance.serials import member_since, milliseconds
from fogline.governance.subject import Role, Subject
from fogline.governance.tokens import TokenRecord, create_token, redeem
from fogline.network.books import Known, Line, Record
from fogline.network.contract import Blob, Certificate, Decoder, Enrol, Home, Renew, decoder, encode
from fogline.network.downlink import Context, Downlink
from fogline.network.gate import Gate
from fogline.network.joining import check_signed_by
from fogline.network.office import Office
from fogline.network.wire import Methods
from fogline.storage import Database, StorageError

TOKENS, MEMBERS = "token", "member"
DAYS = 30.0
"""Life of a node's certificate; it is renewed after two thirds of it."""


class Submit(msgspec.Struct, frozen=True):
    """Put a job into the queue."""

    text: str
    bundle: Blob
    priority: int = 0
    needs: Needs = Needs()
    planned: bool = False
    wait: float = 60.0


class NewToken(msgspec.Struct, frozen=True):
    """Make a token."""

    role: Role
    site: str = "main"
    uses: int = 1
    ttl: float = 3600.0
    names: str | None = None


class Name(msgspec.Struct, frozen=True):
    """A job or a node, and the line of its log to go on after."""

    name: str = ""
    after: int = 0
    follow: bool = True
    """Whether to go on until the job is over."""


class Text(msgspec.Struct, frozen=True):
    """An answer in words."""

    text: str


class Numbered(msgspec.Struct, frozen=True):
    """A line of a job's log and its number."""

    number: int
    line: Line


class Member(msgspec.Struct, frozen=True):
    """A node that was given a certificate."""

    subject: Subject
    key_hash: str
    since: int
    """When it joined, in milliseconds of Unix time."""
    issued: float
    """Unix time of its newest certificate."""


MEMBER, TOKEN = decoder(Member), decoder(TokenRecord)


class Registrar:
    """Gives certificates out and takes them back.

    Args:
        authority: signs them.
        database: tokens, members and revocations.
        gate: the root's; holds the list of revoked nodes.
        home: how children reach the root.
        fogs: where else devices may go.
        days: life of a certificate.
        reserved: names that nobody else may have.
    """

    def __init__(
        self,
        authority: Authority,
        database: Database,
        gate: Gate,
        home: Callable[[], Home],
        fogs: Callable[[], tuple[Home, ...]],
        days: float = DAYS,
        reserved: tuple[str, ...] = (),
    ) -> None:
        self.authority = authority
        self._database = database
        self._gate = gate
        self._home = home
        self._fogs = fogs
        self._days = days
        self._reserved = {home().name.lower(), *(name.lower() for name in reserved)}

    def token(self, asked: NewToken, by: str) -> str:
        """A new token.

        Raises:
            TrustError: it is impossible.
        """
        record, text = create_token(
            self.authority.root_pem, asked.role, asked.site, asked.uses, asked.ttl, time.time(), asked.names, by
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
            subject = Subject(asked.name, asked.role, used.site)
            self._check_name(subject, key_hash)
            if used == record or self._database.swap(TOKENS, asked.token, body, encode(used)):
                break  # Else somebody used it at the same moment: look again.
        since = self._gate.revocations.following(asked.name, milliseconds(time.time()))
        self._keep(Member(subject, key_hash, since, time.time()))
        return self._certificate(asked.request, subject, since)

    def renew(self, asked: Renew) -> Certificate:
        """The next certificate of a node that has one, and shows it.

        Raises:
            TrustError: the request is not right, or the node was revoked.
        """
        facts = check_issued(asked.certificate, self.authority.root_pem, time.time())
        refusal = self._gate.refusal(facts.subject, facts.serial)
        if refusal is not None:
            raise TrustError(refusal)
        check_signed_by(asked.certificate, asked.signature, asked.request)
        key_hash, since = key_hash_of(key_of_request(asked.request)), member_since(facts.serial)
        self._check_pace(facts.subject, key_hash)
        self._keep(Member(facts.subject, key_hash, since, time.time()))
        return self._certificate(asked.request, facts.subject, since)

    def _check_pace(self, subject: Subject, key_hash: str) -> None:
        """Refuse a renewal that comes much too early. Whoever asks again for the same key has lost the answer."""
        body = self._database.get(MEMBERS, subject.name.lower())
        member: Member | None = None if body is None else MEMBER.decode(body)
        if member is None or member.key_hash == key_hash:
            return
        age, life = time.time() - member.issued, self._days * 86400
        if 0 <= age < REST * life:
            shown = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            raise TrustError(
                f"The certificate of {subject.name} was issued {age / 3600:.3g} hours ago, and is renewed after "
                f"{life / 5400:.3g}. The cloud's clock shows {shown} UTC; if that of {subject.name} shows the same, "
                "another machine uses the same identity."
            )

    def is_member(self, name: str) -> bool:
        """Whether a node of that name ever joined."""
        return self._database.get(MEMBERS, name.lower()) is not None

    def _keep(self, member: Member) -> None:
        self._database.put(MEMBERS, member.subject.name.lower(), encode(member))

    def _check_name(self, subject: Subject, key_hash: str) -> None:
        if subject.name.lower() in self._reserved:
            raise TrustError(f"{subject.name} is the name of a part of the cloud; choose another.")
        body = self._database.get(MEMBERS, subject.name.lower())
        if body is None:
            return
        member: Member = MEMBER.decode(body)
        if member.key_hash != key_hash and not self._gate.revocations.ended(subject.name, member.since):
            raise TrustError(f"There is a node named {subject.name} already; choose another name, or revoke it first.")

    def _certificate(self, request: bytes, subject: Subject, since: int) -> Certificate:
        issued = self.authority.issue(request, subject, self._days, since=since)
        return Certificate(issued, self.authority.root_pem, self._home(), self._fogs())


Answers = dict[str, tuple[Any, Callable[[Any, Subject], Awaitable[Any]]]]
"""Kind of the request, and what answers it, told who asks."""


def answering(downlink: Downlink, answers: Answers) -> dict[str, Any]:
    """Methods for people: one question, one answer. Whether their role may ask was checked before."""

    def method(kind: Decoder[Any], answer: Callable[[Any, Subject], Awaitable[Any]]) -> Any:
        async def handle(request: bytes, context: Context) -> bytes:
            by = (await downlink.admit(context)).subject
            try:
                return encode(await answer(kind.decode(request), by))
            except msgspec.DecodeError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"that is no such request: {error}")
            except PermissionError as error:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
            except LookupError as error:
                await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
            except (ValueError, TrustError) as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except StorageError as error:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            raise AssertionError("gRPC ends the call at abort")

        return grpc.unary_unary_rpc_method_handler(handle)

    return {name: method(decoder(kind), answer) for name, (kind, answer) in answers.items()}


def check_own(by: Subject, call: str, record: Record) -> None:
    """Refuse what somebody may do to jobs of his own only.

    Raises:
        PermissionError: the job is another's.
    """
    why = refusal(by, call, record.by)
    if why is not None:
        raise PermissionError(why)


class Desk:
    """The methods of the cloud beside those of every node.

    Args:
        office: the jobs.
        registrar: the certificates.
        downlink: says who calls, and takes bundles.
    """

    def __init__(self, office: Office, registrar: Registrar, downlink: Downlink) -> None:
        self._office = office
        self._registrar = registrar
        self._downlink = downlink

    def methods(self) -> Methods:
        """For operators."""
        answers: Answers = {
            "Submit": (Submit, self._submit),
            "Jobs": (Name, self._jobs),
            "Stop": (Name, self._stop),
            "Nodes": (Name, self._nodes),
            "Revoke": (Name, self._revoke),
            "Token": (NewToken, self._token),
        }
        return {
            **answering(self._downlink, answers),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    async def _submit(self, asked: Submit, by: Subject) -> Record:
        if not self._office.node.shelf.holds(asked.bundle.digest, asked.bundle.size):
            raise LookupError("the bundle is not here; push it first")
        return await self._office.submit(
            by.name, asked.text, asked.bundle, asked.priority, asked.needs, asked.planned, asked.wait
        )

    async def _jobs(self, asked: Name, _: Subject) -> list[Record]:
        return [self._office.books.record(asked.name)] if asked.name else self._office.books.records()

    async def _stop(self, asked: Name, by: Subject) -> Record:
        check_own(by, "Desk/Stop", self._office.books.record(asked.name))
        return await self._office.stop(asked.name)

    async def _nodes(self, _: Name, __: Subject) -> list[Known]:
        return sorted(self._office.books.nodes.values(), key=lambda known: (known.parent, known.name))

    async def _revoke(self, asked: Name, _: Subject) -> Text:
        known = {name.lower() for name in self._office.books.nodes}  # A restored cloud has forgotten who joined.
        if asked.name.lower() not in known and not await asyncio.to_thread(self._registrar.is_member, asked.name):
            raise LookupError(f"no node named '{asked.name}' ever joined")
        return Text(await self._office.revoke(asked.name))

    async def _token(self, asked: NewToken, by: Subject) -> Text:
        return Text(await asyncio.to_thread(self._registrar.token, asked, by.name))

    async def _watch(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            asked: Name = decoder(Name).decode(request)
            record = self._office.books.record(asked.name)
        except msgspec.DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"that is no such request: {error}")
            return
        except LookupError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
            return
        if not asked.follow:
            for number, line in await asyncio.to_thread(self._office.books.lines, record.job, asked.after):
                yield encode(Numbered(number, line))
            return
        async for number, line in self._office.books.watch(record.job, asked.after):
            yield encode(Numbered(number, line))

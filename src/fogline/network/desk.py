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
from fogline.governance.errors import TrustError
from fogline.governance.offers import Needs
from fogline.governance.subject import Role, Subject
from fogline.governance.tokens import TokenRecord, create_token, redeem
from fogline.network.books import Known, Line, Record, Stop
from fogline.network.contract import Blob, Certificate, Decoder, Enrol, Home, Renew, decoder, encode
from fogline.network.downlink import Context, Downlink
from fogline.network.gate import Gate
from fogline.network.joining import check_signed_by
from fogline.network.office import OPERATORS, Office
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


class Stopping(msgspec.Struct, frozen=True):
    """End a job."""

    name: str
    how: Stop = "keep"
    """What becomes of what it has learned."""


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
    since: float


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
        self._database.put(MEMBERS, asked.name.lower(), encode(Member(subject, key_hash, time.time())))
        if self._gate.revocations.revoked(subject, ""):
            self._gate.take_revoked(self._gate.revocations.removing(time.time(), [asked.name]).sign(self.authority))
        return self._certificate(asked.request, subject)

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
        key_hash = key_hash_of(key_of_request(asked.request))
        self._database.put(MEMBERS, facts.subject.name.lower(), encode(Member(facts.subject, key_hash, time.time())))
        return self._certificate(asked.request, facts.subject)

    def revoke(self, name: str) -> bytes:
        """Cut a node off; the signed list.

        Raises:
            LookupError: there never was such a node.
        """
        if self._database.get(MEMBERS, name.lower()) is None:
            raise LookupError(f"no node named '{name}' ever joined")
        return self._gate.revocations.adding(time.time(), [name]).sign(self.authority)

    def _check_name(self, subject: Subject, key_hash: str) -> None:
        if subject.name.lower() in self._reserved:
            raise TrustError(f"{subject.name} is the name of a part of the cloud; choose another.")
        body = self._database.get(MEMBERS, subject.name.lower())
        if body is None or self._gate.revocations.revoked(subject, ""):
            return
        member: Member = MEMBER.decode(body)
        if member.key_hash != key_hash:
            raise TrustError(f"There is a node named {subject.name} already; choose another name, or revoke it first.")

    def _certificate(self, request: bytes, subject: Subject) -> Certificate:
        issued = self.authority.issue(request, subject, self._days)
        return Certificate(issued, self.authority.root_pem, self._home(), self._fogs())


Answers = dict[str, tuple[Any, Callable[[Any, str], Awaitable[Any]]]]
"""Kind of the request, and what answers it, told who asks."""


def answering(downlink: Downlink, answers: Answers) -> dict[str, Any]:
    """Methods for operators: one question, one answer."""

    def method(kind: Decoder[Any], answer: Callable[[Any, str], Awaitable[Any]]) -> Any:
        async def handle(request: bytes, context: Context) -> bytes:
            by = await operator(downlink, context)
            try:
                return encode(await answer(kind.decode(request), by))
            except msgspec.DecodeError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"that is no such request: {error}")
            except LookupError as error:
                await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
            except (ValueError, TrustError) as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except StorageError as error:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            raise AssertionError("gRPC ends the call at abort")

        return grpc.unary_unary_rpc_method_handler(handle)

    return {name: method(decoder(kind), answer) for name, (kind, answer) in answers.items()}


async def operator(downlink: Downlink, context: Context) -> str:
    """Who asks; the call is ended if it is no operator or developer."""
    subject = (await downlink.admit(context)).subject
    if subject.role not in OPERATORS:
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED, f"{subject.name} is a {subject.role}; this is for operators"
        )
    return subject.name


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
            "Stop": (Stopping, self._stop),
            "Nodes": (Name, self._nodes),
            "Revoke": (Name, self._revoke),
            "Token": (NewToken, self._token),
        }
        return {
            **answering(self._downlink, answers),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    async def _submit(self, asked: Submit, by: str) -> Record:
        if not self._office.node.shelf.holds(asked.bundle.digest, asked.bundle.size):
            raise LookupError("the bundle is not here; push it first")
        return await self._office.submit(
            by, asked.text, asked.bundle, asked.priority, asked.needs, asked.planned, asked.wait
        )

    async def _jobs(self, asked: Name, _: str) -> list[Record]:
        return [self._office.books.record(asked.name)] if asked.name else self._office.books.records()

    async def _stop(self, asked: Stopping, _: str) -> Record:
        return await self._office.stop(asked.name, asked.how or "keep")

    async def _nodes(self, _: Name, __: str) -> list[Known]:
        return sorted(self._office.books.nodes.values(), key=lambda known: (known.parent, known.name))

    async def _revoke(self, asked: Name, _: str) -> Text:
        signed = await asyncio.to_thread(self._registrar.revoke, asked.name)
        self._office.node.take_revoked(signed)
        return Text(f"{asked.name} is cut off; to come back it needs a new token")

    async def _token(self, asked: NewToken, by: str) -> Text:
        return Text(await asyncio.to_thread(self._registrar.token, asked, by))

    async def _watch(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        await operator(self._downlink, context)
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

"""What people ask of the cloud about jobs and nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import grpc
import msgspec

from fogline.governance.audit_log.heads import sign_audit_head
from fogline.governance.errors import TrustError
from fogline.governance.roles import CALLS, refusal
from fogline.governance.subject import Subject, fits
from fogline.network.cloud.api.approvals import ApprovalDesk
from fogline.network.cloud.api.auditing import about, facts_of
from fogline.network.cloud.api.fleet_news import follow
from fogline.network.cloud.fleet import FleetMonitor
from fogline.network.cloud.records import ApprovalReport, LogLine, NodeInfo, Record
from fogline.network.cloud.registrar import Registrar
from fogline.network.cloud.requests import (
    AuditPage,
    Forgetting,
    LedgerPage,
    Moving,
    Name,
    NewFleetPolicy,
    NewToken,
    NumberedLine,
    OwnerDecision,
    SetPolicies,
    Stopping,
    Submit,
    Text,
)
from fogline.network.cloud.results import contents, messages
from fogline.network.cloud.scheduler import JobScheduler
from fogline.network.node.auditing import AuditTrail
from fogline.network.node.services.ledgers import LedgerService
from fogline.network.node.services.parents import ParentService
from fogline.network.transport.downlink import Context, Downlink
from fogline.network.transport.grpc import Methods
from fogline.processes.messages import Decoder, decoder, encode
from fogline.storage import StorageError

NAME: Decoder[Name] = decoder(Name)
PAGE = 64
"""Records of an audit log, or ends of ledgers, in a message: as long as may be, they fit in one."""
Answers = dict[str, tuple[Any, Callable[[Any, Subject], Awaitable[Any]]]]
"""Kind of the request, and what answers it, told who asks."""


@asynccontextmanager
async def refusals(context: Context) -> AsyncGenerator[None]:
    """What is raised inside becomes the answer of the call: a code, and the sentence."""
    try:
        yield
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
    except OSError as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, f"a file cannot be read now: {error.strerror}")


def answering(downlink: Downlink, audit: AuditTrail, answers: Answers) -> dict[str, Any]:
    """Methods for people: one question, one answer. Whether their role may ask was checked before; what changes
    something is recorded."""

    def method(audited: str, kind: Decoder[Any], answer: Callable[[Any, Subject], Awaitable[Any]]) -> Any:
        async def handle(request: bytes, context: Context) -> bytes:
            by = (await downlink.admit(context)).subject
            async with refusals(context):
                asked = kind.decode(request)
                answered = await answer(asked, by)
                if audited:
                    await audit.record(audited, by.name, about(asked, answered), **facts_of(asked))
                return encode(answered)
            raise AssertionError("gRPC ends the call at abort")

        return grpc.unary_unary_rpc_method_handler(handle)

    return {
        name: method(CALLS[f"Operator/{name}"].audited, decoder(kind), answer)
        for name, (kind, answer) in answers.items()
    }


def check_own(by: Subject, call: str, record: Record) -> None:
    """Refuse what somebody may do to jobs of his own only.

    Raises:
        PermissionError: the job is another's.
    """
    why = refusal(by, call, record.by)
    if why is not None:
        raise PermissionError(why)


def check_node(by: Subject, call: str, node: str) -> None:
    """Refuse what somebody whose role is limited to some nodes may not do to a node, or to those of a pattern.

    Raises:
        PermissionError: it is another node.
    """
    why = refusal(by, call, node=node)
    if why is not None:
        raise PermissionError(why)


def check_own_bundle(by: Subject, jobs: Sequence[Record]) -> None:
    """Refuse a job whose bundle others' jobs have: it is their signature, and may not be readable to who submits it.

    Raises:
        PermissionError: no job of his own has it, and some of others have.
    """
    if jobs and by.role != "operator" and all(record.by != by.name for record in jobs):
        job, owner = jobs[0].job, jobs[0].by
        raise PermissionError(
            f"that bundle is of {owner}'s job {job}; sign its code yourself: fogline jobs clone {job}"
        )


def narrowed(report: ApprovalReport, by: Subject) -> ApprovalReport:
    """How a job stands, without the names of nodes to which a role is not limited."""
    seen = tuple(node for node in report.unapproved if fits(node, by.nodes))
    return msgspec.structs.replace(report, unapproved=seen)


class OperatorApi:
    """The methods of the cloud beside those of every node.

    Args:
        scheduler: the jobs.
        fleet: the nodes.
        registrar: the certificates.
        downlink: says who calls, and takes bundles.
    """

    def __init__(self, scheduler: JobScheduler, fleet: FleetMonitor, registrar: Registrar, downlink: Downlink) -> None:
        self._scheduler = scheduler
        self._fleet = fleet
        self._registrar = registrar
        self._downlink = downlink
        self._desk = ApprovalDesk(scheduler)

    def methods(self) -> Methods:
        """The calls that operators may make, by name."""
        answers: Answers = {
            "Submit": (Submit, self._submit),
            "Jobs": (Name, self._jobs),
            "Stop": (Stopping, self._stop),
            "Approvals": (Name, self._approvals),
            "Approval": (Name, self._approval),
            "Decide": (OwnerDecision, self._decide),
            "PublishPolicy": (NewFleetPolicy, self._publish_policy),
            "Policies": (Name, self._policies),
            "Nodes": (Name, self._nodes),
            "Notices": (Name, self._notices),
            "Revoke": (Name, self._revoke),
            "Token": (NewToken, self._token),
            "ForgetJobs": (Forgetting, self._forget_jobs),
            "ForgetNode": (Name, self._forget_node),
            "Move": (Moving, self._move),
        }
        return {
            **answering(self._downlink, self._scheduler.node.audit, answers),
            "AuditLog": grpc.unary_stream_rpc_method_handler(self._audit_log),
            "Ledgers": grpc.unary_stream_rpc_method_handler(self._ledgers),
            "Follow": grpc.unary_stream_rpc_method_handler(self._follow),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            "Result": grpc.unary_stream_rpc_method_handler(self._result),
        }

    async def _submit(self, asked: Submit, by: Subject) -> Record:
        if not self._scheduler.node.value_store.holds(asked.bundle.digest, asked.bundle.size):
            raise LookupError("the bundle is not here; push it first")
        check_own_bundle(by, self._scheduler.job_store.with_bundle(asked.bundle.digest))
        return await self._scheduler.submit(
            by.name, asked.text, asked.bundle, asked.priority, asked.planned, asked.wait, by.nodes
        )

    async def _jobs(self, asked: Name, _: Subject) -> list[Record]:
        store = self._scheduler.job_store
        records = [store.record(asked.name)] if asked.name else store.records()
        return [self._scheduler.shown(record) for record in records]

    async def _stop(self, asked: Stopping, by: Subject) -> Record:
        check_own(by, "Operator/Stop", self._scheduler.job_store.record(asked.name))
        return await self._scheduler.stop(asked.name, asked.how or "keep")

    async def _approvals(self, _: Name, by: Subject) -> list[ApprovalReport]:
        return [narrowed(report, by) for report in await self._desk.waiting()]

    async def _approval(self, asked: Name, by: Subject) -> ApprovalReport:
        return narrowed(await self._desk.show(asked.name), by)

    async def _decide(self, asked: OwnerDecision, by: Subject) -> ApprovalReport:
        return narrowed(await self._desk.decide(asked.name, asked.envelope, by), by)

    async def _publish_policy(self, asked: NewFleetPolicy, _: Subject) -> Text:
        if not await asyncio.to_thread(self._scheduler.node.admission.fleet_policy.take, asked.data):
            raise ValueError("the fleet has a policy that is as new, or newer; is this machine's clock right?")
        return Text("The fleet has a new policy; every node takes it over with its next job.")

    async def _policies(self, _: Name, __: Subject) -> SetPolicies:
        admission = self._scheduler.node.admission
        return SetPolicies(admission.fleet_policy.held, await asyncio.to_thread(admission.policy_text))

    async def _nodes(self, _: Name, by: Subject) -> list[NodeInfo]:
        known = [node for node in self._scheduler.job_store.nodes.values() if fits(node.name, by.nodes)]
        return sorted(known, key=lambda node: (node.parent, node.name))

    async def _notices(self, _: Name, __: Subject) -> list[LogLine]:
        return await asyncio.to_thread(self._scheduler.job_store.notices)

    async def _revoke(self, asked: Name, by: Subject) -> Text:
        check_node(by, "Operator/Revoke", asked.name)
        known = {name.lower() for name in self._scheduler.job_store.nodes}  # A restored cloud has forgotten who joined.
        if asked.name.lower() not in known and not await asyncio.to_thread(self._registrar.is_member, asked.name):
            raise LookupError(f"no node named '{asked.name}' ever joined")
        return Text(await self._fleet.revoke(asked.name))

    async def _token(self, asked: NewToken, by: Subject) -> Text:
        if by.nodes:
            check_node(by, "Operator/Token", asked.names or "*")
            if asked.role not in ("fog", "device"):
                raise PermissionError(
                    f"{by.name} may make tokens for fogs and devices only: its role is limited to nodes"
                )
        return Text(await asyncio.to_thread(self._registrar.token, asked, by.name))

    async def _forget_jobs(self, asked: Forgetting, _: Subject) -> Text:
        if not asked.name and asked.older is None:
            raise ValueError("name a job, or say how old those are that are to be forgotten")
        return Text(await self._scheduler.forget(asked.name, asked.older))

    async def _forget_node(self, asked: Name, by: Subject) -> Text:
        check_node(by, "Operator/ForgetNode", asked.name)
        return Text(self._fleet.forget(asked.name))

    async def _move(self, asked: Moving, _: Subject) -> Text:
        return Text(self._scheduler.node.service(ParentService).move(asked.address))

    async def _result(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        by = (await self._downlink.admit(context)).subject
        async with refusals(context):
            asked: Name = NAME.decode(request)
            record = self._scheduler.job_store.record(asked.name)
            check_own(by, "Operator/Result", record)
            folder = self._scheduler.result(record.job)
            what = await asyncio.to_thread(contents, record.job, record.state, folder)
            async for message in messages(what, folder):
                yield message

    async def _audit_log(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        async with refusals(context):
            NAME.decode(request)
            node = self._scheduler.node
            assert node.credentials is not None
            head = node.audit.log.head()
            await node.audit.written(head.size)
            yield encode(AuditPage(sign_audit_head(head, node.credentials())))
            records = node.audit.log.lines(head.size)
            while lines := await asyncio.to_thread(lambda: tuple(islice(records, PAGE))):
                yield encode(AuditPage(lines=lines))

    async def _ledgers(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        by = (await self._downlink.admit(context)).subject
        async with refusals(context):
            NAME.decode(request)
            kept = self._scheduler.node.service(LedgerService).kept()
            ends = iter([(name, end) for name, end in kept if fits(name, by.nodes)])
            while page := tuple(islice(ends, PAGE)):
                yield encode(LedgerPage(page))

    async def _follow(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        facts = await self._downlink.admit(context)
        async with refusals(context):
            NAME.decode(request)
            async for news in follow(self._scheduler.job_store, self._scheduler.node.name, facts.subject.nodes):
                await self._downlink.check(facts, context)  # Who was revoked since hears no more.
                yield encode(news)

    async def _watch(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        facts = await self._downlink.admit(context)
        by = facts.subject
        async with refusals(context):
            asked: Name = NAME.decode(request)
            record = self._scheduler.job_store.record(asked.name)
            if not asked.follow:
                for number, line in await asyncio.to_thread(self._scheduler.job_store.lines, record.job, asked.after):
                    if self._is_for(by, line):
                        yield encode(NumberedLine(number, line))
                return
            async for number, line in self._scheduler.job_store.watch(record.job, asked.after):
                await self._downlink.check(facts, context)
                if self._is_for(by, line):
                    yield encode(NumberedLine(number, line))

    def _is_for(self, by: Subject, line: LogLine) -> bool:
        """Whether somebody may read a line of a log: of nodes that his role is not limited to, only what the cloud says
        of the whole job."""
        whose = line.child or line.node
        return whose == self._scheduler.node.name or fits(whose, by.nodes)

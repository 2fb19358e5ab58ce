"""A board of a cloud: its tree, jobs, models and members, as one person may see and steer them.

It runs on the person's machine and talks to the cloud as the commands do, with the person's own certificate: the cloud
has no other door for it, knows who does what, and refuses what the person's role may not, whatever the page has sent.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fogline.backoff import Backoff
from fogline.dashboard.board import About, Answer
from fogline.dashboard.fleet import FleetView
from fogline.dashboard.hub import Hub
from fogline.dashboard.job_view import LogView, show_record
from fogline.governance.audit_log.export import check_export, read_export
from fogline.governance.audit_log.records import AuditRecord, decode_record
from fogline.governance.roles import refusal
from fogline.governance.subject import Role, Subject
from fogline.network.cloud.client import Client, OperatorApiError
from fogline.network.cloud.records import Record
from fogline.network.cloud.requests import FleetNews, NewToken
from fogline.processes.tasks import Tasks
from fogline.registry.model_report import Steer

AGAIN = Backoff(first=1.0, longest=30.0)
LOGS = 20
"""Jobs whose logs and rows are shown, the newest."""
RECORDS = 500
"""Records of the audit log that are shown, the newest; all are verified."""
CALLS = {"stop": "Stop", "steer": "Steer", "revoke": "Revoke", "token": "Token", "audit": "AuditLog"}
"""What the page may ask, and which call of the cloud's that makes."""
Asked = TypeVar("Asked", bound=msgspec.Struct)


class JobName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request about a job."""

    job: str


class NodeName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request about a node."""

    name: str


class Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for a token."""

    role: Role
    uses: int = 1


class VerifiedLog(msgspec.Struct, frozen=True):
    """The cloud's audit log, and what does not hold of it."""

    node: str
    size: int
    problems: tuple[str, ...]
    records: tuple[AuditRecord, ...]
    """The last ones."""


class CloudBoard:
    """What a person sees of a cloud.

    Args:
        connect: makes a connection with the person's identity.
        person: who that is.
        cloud: the cloud's name.
        root: certificate of its authority, which the audit log is verified with.
        before_steering: what is to be done before a release is changed.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Client]],
        person: Subject,
        cloud: str,
        root: bytes,
        before_steering: Callable[[Client], Awaitable[None]],
    ) -> None:
        self.hub = Hub()
        self.about = About(
            cloud,
            ("tree", "runs", "models", "trust"),
            tuple(name for name, call in CALLS.items() if _may(person, call)),
            person.name,
            person.role,
        )
        self._connect = connect
        self._person = person
        self._root = root
        self._before_steering = before_steering
        self._client: Client | None = None
        self._fleet = FleetView(cloud, self.hub)
        self._models = -1
        self._followed: deque[str] = deque()
        """Jobs whose logs are followed."""

    def answers(self) -> Mapping[str, Answer]:
        """What the person's role may do; the cloud looks again."""
        answers: dict[str, Answer] = {
            "stop": _asking(JobName, self._stop),
            "steer": _asking(Steer, self._steer),
            "revoke": _asking(NodeName, self._revoke),
            "token": _asking(Invitation, self._token),
            "audit": self._audit,
        }
        return {name: answer for name, answer in answers.items() if name in self.about.calls}

    async def follow(self) -> None:
        """Show what the cloud tells; where the connection is lost, it is made again."""
        failures = 0
        while True:
            try:
                async with self._connect() as client:
                    tasks = Tasks(self.about.title)
                    try:
                        async for news in client.follow():
                            failures, self._client = 0, client
                            self.hub.forget("trouble/cloud")
                            await self._take(client, news, tasks)
                    finally:
                        self._client = None
                        await tasks.close()
            except OperatorApiError as error:
                self.hub.tell("trouble/cloud", str(error))
            failures += 1
            self._followed.clear()
            await asyncio.sleep(AGAIN.after(failures))

    async def _take(self, client: Client, news: FleetNews, tasks: Tasks) -> None:
        self._fleet.take(news)
        for record in news.jobs:
            show_record(self.hub, record, refusal(self._person, "Operator/Stop", record.by) is None)
            self._follow_log(client, record, tasks)
        for job in news.forgotten_jobs:
            for kind in ("run", "job"):
                self.hub.forget(f"{kind}/{job}")
            self._forget_log(job)
        if news.models != self._models and _may(self._person, "Models"):
            self._models = news.models
            for report in await client.models():
                self.hub.tell(f"model/{report.model}", report)

    def _follow_log(self, client: Client, record: Record, tasks: Tasks) -> None:
        """Follow a job's log, too, if it is one of the newest."""
        if record.job in self._followed:
            return
        self._followed.append(record.job)
        for job in (record.job, *([self._followed.popleft()] if len(self._followed) > LOGS else [])):
            self._forget_log(job)
        tasks.spawn(self._show_log(client, record.job))

    def _forget_log(self, job: str) -> None:
        self.hub.forget_all(f"rows/{job}/")
        self.hub.forget_all(f"log/{job}/")

    async def _show_log(self, client: Client, job: str) -> None:
        with suppress(OperatorApiError):  # The connection is lost: who follows the cloud says so.
            await LogView(job, self.hub, self._fleet.heard).follow(client.watch(job))

    # What the page asks.

    @property
    def _connected(self) -> Client:
        """The connection.

        Raises:
            OperatorApiError: there is none now.
        """
        if self._client is None:
            raise OperatorApiError("The cloud is not connected now; try again when it is.")
        return self._client

    async def _stop(self, asked: JobName) -> str:
        record = await self._connected.stop(asked.job)
        return f"Job {record.job} is {record.state}."

    async def _steer(self, asked: Steer) -> str:
        await self._before_steering(self._connected)
        return await self._connected.steer(asked)

    async def _revoke(self, asked: NodeName) -> str:
        return await self._connected.revoke(asked.name)

    async def _token(self, asked: Invitation) -> str:
        return await self._connected.token(NewToken(asked.role, uses=asked.uses))

    async def _audit(self, _: bytes) -> VerifiedLog:
        """Fetch the whole log and verify it here."""
        with tempfile.TemporaryDirectory(prefix="fogline-board-") as folder:
            path = Path(folder) / "cloud.audit"
            await self._connected.audit_log(path)
            return await asyncio.to_thread(self._verified, path)

    def _verified(self, path: Path) -> VerifiedLog:
        checked = check_export(path, self._root)
        last = deque(read_export(path)[1], maxlen=RECORDS)
        records = tuple(map(decode_record, last)) if not checked.problems else ()
        return VerifiedLog(checked.head.node, checked.head.size, checked.problems, records)


def _may(person: Subject, call: str) -> bool:
    """Whether somebody may make a call at all, if only for what is his own."""
    return refusal(person, f"Operator/{call}", person.name) is None


def _asking(kind: type[Asked], answer: Callable[[Asked], Awaitable[Any]]) -> Answer:
    """Reads the request, and answers it."""
    decode = msgspec.json.Decoder(kind).decode

    async def answered(body: bytes) -> Any:
        return await answer(decode(body))

    return answered

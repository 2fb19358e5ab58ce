"""A board of a cloud: its tree, jobs, models and members, as one person may see and steer them.

It talks to the cloud as the commands do, with a certificate of the person's: the cloud has no other door for it, knows
who does what, and refuses what the person's role may not, whatever the page has sent. Mostly it runs on the person's
machine, with the person's keys; for people who sign in with a provider it runs beside the cloud, and has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fogline.dashboard.board import About, Answer
from fogline.dashboard.calls import (
    CALLS,
    SIGNED,
    Again,
    Decided,
    Invitation,
    JobName,
    NodeName,
    Nothing,
    StopAsked,
    asking,
    may,
)
from fogline.dashboard.errors import BoardRequestError
from fogline.dashboard.fleet import FleetView
from fogline.dashboard.hub import Hub
from fogline.dashboard.job_view import LogView, show_record
from fogline.dashboard.trust import TrustDesk
from fogline.governance.identity.credentials import ROOT
from fogline.governance.identity.identity import Identity
from fogline.governance.roles import refusal
from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud import cloning
from fogline.network.cloud.client import Client, OperatorApiError
from fogline.network.cloud.folder import SIGNING
from fogline.network.cloud.records import Record
from fogline.network.cloud.requests import FleetNews, NewToken
from fogline.processes.tasks import Tasks
from fogline.registry.model_report import Steer
from fogline.retries import FOLLOW_AGAIN, Failures

LOGS = 20
"""Jobs whose logs and rows are shown, the newest."""


class CloudBoard:
    """What a person sees of a cloud.

    Args:
        connect: makes a connection with the person's identity.
        place: the person's folder, with that identity, and the keys that the person signs with.
        cloud: the cloud's name.
        before_steering: what is to be done before a release is changed.
        until: when the person is signed out (Unix time), whose keys are not here then; 0: the person need not sign in.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Client]],
        place: Path,
        cloud: str,
        before_steering: Callable[[Client], Awaitable[None]],
        until: float = 0.0,
    ) -> None:
        person = Identity.load(place / "identity").subject
        calls = tuple(name for name, call in CALLS.items() if may(person, call))
        keyless = tuple(name for name in calls if until and name in SIGNED)
        self.hub = Hub()
        self.about = About(
            cloud,
            ("tree", "runs", "models", "trust"),
            tuple(name for name in calls if name not in keyless),
            person.name,
            person.role,
            keyless,
            until,
        )
        self._connect = connect
        self._person = person
        self._place = place
        self._desk = TrustDesk(place, (place / "identity" / ROOT).read_bytes())
        self._before_steering = before_steering
        self._client: Client | None = None
        self._fleet = FleetView(cloud, self.hub)
        self._models = self._approvals = -1
        self._waiting = asyncio.Event()
        """Set where other jobs may wait for owners than are shown."""
        self._shown_waiting: set[str] = set()
        self._followed: dict[str, asyncio.Task[None]] = {}
        """Who follows the logs of jobs, by the job, the one that was begun last at the end."""

    def answers(self) -> Mapping[str, Answer]:
        """What the person's role may do; the cloud looks again."""
        desk = self._desk
        answers: dict[str, Answer] = {
            "stop": asking(StopAsked, self._stop),
            "clone": asking(Again, self._clone),
            "resume": asking(Again, self._resume),
            "steer": asking(Steer, self._steer),
            "approval": asking(JobName, lambda asked: desk.show(self._connected, asked)),
            "decide": asking(Decided, lambda asked: desk.decide(self._connected, asked)),
            "policies": asking(Nothing, lambda _: desk.policies(self._connected)),
            "budgets": asking(Nothing, lambda _: desk.budgets(self._connected)),
            "revoke": asking(NodeName, lambda asked: self._connected.revoke(asked.name)),
            "token": asking(Invitation, lambda asked: self._connected.token(NewToken(asked.role, uses=asked.uses))),
            "audit": asking(Nothing, lambda _: desk.audit(self._connected)),
        }
        own = {name: answer for name, answer in answers.items() if name in self.about.calls}
        return own | dict.fromkeys(self.about.keyless, _keyless)

    async def follow(self) -> None:
        """Show what the cloud tells; where the connection is lost, it is made again."""
        failures = Failures(FOLLOW_AGAIN)
        while True:
            try:
                async with self._connect() as client:
                    tasks = Tasks(self.about.title)
                    tasks.spawn(self._show_approvals(client))
                    try:
                        async for news in client.follow():
                            failures.over()
                            self._client = client
                            self.hub.forget("trouble/cloud")
                            await self._take(client, news, tasks)
                    finally:
                        self._client = None
                        await tasks.close()
            except OperatorApiError as error:
                self.hub.tell("trouble/cloud", str(error))
            self._followed.clear()
            await asyncio.sleep(failures.another())

    async def _take(self, client: Client, news: FleetNews, tasks: Tasks) -> None:
        self._fleet.take(news)
        for record in news.jobs:
            show_record(self.hub, record, refusal(self._person, "Operator/Stop", record.by) is None)
            self._follow_log(client, record, tasks)
        if news.jobs or news.forgotten_jobs or news.approvals != self._approvals:
            self._approvals = news.approvals
            self._waiting.set()
        for job in news.forgotten_jobs:
            for kind in ("run", "job"):
                self.hub.forget(f"{kind}/{job}")
            self._forget_log(job)
        if news.models != self._models and may(self._person, "Models"):
            self._models = news.models
            for report in await client.models():
                self.hub.tell(f"model/{report.model}", report)

    def _follow_log(self, client: Client, record: Record, tasks: Tasks) -> None:
        """Follow a job's log, too, if it is one of the newest."""
        if record.job in self._followed:
            return
        self._forget_log(record.job)
        self._followed[record.job] = tasks.spawn(self._show_log(client, record.job))
        if len(self._followed) > LOGS:
            self._forget_log(next(iter(self._followed)))

    def _forget_log(self, job: str) -> None:
        following = self._followed.pop(job, None)
        if following is not None:
            following.cancel()
        self.hub.forget_all(f"rows/{job}/")
        self.hub.forget_all(f"log/{job}/")

    async def _show_log(self, client: Client, job: str) -> None:
        try:
            await LogView(job, self.hub, self._fleet.heard).follow(client.watch(job))
        except OperatorApiError:  # The job's next news has it followed anew, from its first line on.
            self._followed.pop(job, None)

    async def _show_approvals(self, client: Client) -> None:
        """Show which jobs wait for owners, whenever that may have changed."""
        failures = Failures(FOLLOW_AGAIN)
        self._waiting.set()
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            try:
                reports = await client.approvals()
            except OperatorApiError:  # Who follows the cloud says it, if it goes on.
                await asyncio.sleep(failures.another())
                self._waiting.set()
                continue
            failures.over()
            for report in reports:
                self.hub.tell(f"approval/{report.job}", report)
            now = {report.job for report in reports}
            for job in self._shown_waiting - now:
                self.hub.forget(f"approval/{job}")
            self._shown_waiting = now

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

    async def _stop(self, asked: StopAsked) -> str:
        record = await self._connected.stop(asked.job, asked.how)
        return f"Job {record.job} is {record.state}."

    async def _clone(self, asked: Again) -> str:
        return self._queued(await cloning.clone(self._connected, asked.job, self._signing(), asked.changes))

    async def _resume(self, asked: Again) -> str:
        return self._queued(await cloning.resume(self._connected, asked.job, self._signing(), asked.changes))

    def _signing(self) -> SigningKey:
        return SigningKey.load(self._place / SIGNING)

    def _queued(self, record: Record) -> str:
        return f"Job {record.job} is {record.why if record.state == 'waiting' else 'in the queue'}."

    async def _steer(self, asked: Steer) -> str:
        await self._before_steering(self._connected)
        return await self._connected.steer(asked)


async def _keyless(_: bytes) -> str:
    raise BoardRequestError(
        "This is signed with a key of your own, which this page does not hold; use fogline board, or the command, on "
        "the machine that has the key"
    )

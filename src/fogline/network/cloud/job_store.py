"""What the cloud keeps: jobs with their logs, and nodes. They lie in the database, and whoever watches is told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import msgspec

from fogline import logs
from fogline.network.cloud.records import JobState, LogLine, NodeInfo, Record
from fogline.network.transport.messages import RoundActivity
from fogline.processes.messages import decoder, encode
from fogline.processes.tasks import Tasks
from fogline.storage import Database, StorageError

log = logging.getLogger("fogline.network")
JOBS, NODES, NOTICES = "job", "node", "notices"
SHOWN = 20
"""Notices that are shown."""


RECORD, KNOWN, LINE = decoder(Record), decoder(NodeInfo), decoder(LogLine)


def _dated(record: Record) -> Record:
    """With the time of its end, where it is over since now."""
    fresh = record.ended and not record.ended_at
    return msgspec.structs.replace(record, ended_at=time.time()) if fresh else record


class JobStore:
    """What the cloud knows of jobs and nodes.

    Args:
        database: where they are kept.
        owner: the cloud's name, for lines and for the log.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.activity: dict[tuple[str, str], RoundActivity] = {}
        """How the part of each node in each job stands, by what it told last. It is not kept."""
        self.model_changes = 0
        """Counts what has become of models."""
        self.approval_changes = 0
        """Counts who has come to wait for an owner's approval, or waits no more."""
        self._database = database
        self._owner = owner
        self._records: dict[str, Record] = {}
        self._given = 0
        """The highest number that was given to a job, kept or not."""
        self._closed = False
        self._news = asyncio.Condition()
        self._tasks = Tasks(owner)

    def load(self) -> None:
        """Know what was known before; nobody is connected yet.

        Raises:
            StorageError: it cannot be read.
        """
        for _, body in self._database.all(JOBS):
            record: Record = RECORD.decode(body)
            self._records[record.job] = record
        for _, body in self._database.all(NODES):
            known: NodeInfo = KNOWN.decode(body)
            if known.up:  # Of who was away already, since when and why stands there.
                known = msgspec.structs.replace(known, up=False, since=time.time(), why="the cloud was restarted")
            self.nodes[known.name] = known

    def close(self) -> None:
        """Tell nobody any more, and keep nothing: children that leave last are told of when the database is closed."""
        self._closed = True
        self._tasks.cancel()

    # Jobs.

    def records(self, *states: JobState) -> list[Record]:
        """Jobs in these states, or all, in the order in which they came."""
        found = [record for record in self._records.values() if not states or record.state in states]
        return sorted(found, key=lambda record: record.serial)

    @property
    def last_serial(self) -> int:
        """The highest number of a job; 0 where there is none."""
        return max((self._given, *(record.serial for record in self._records.values())))

    def next_serial(self, floor: int) -> int:
        """A number for a job, above a floor: nobody gets it for the second time, however many ask at once."""
        self._given = 1 + max(self.last_serial, floor)
        return self._given

    def get(self, job: str) -> Record | None:
        """A job by its whole id."""
        return self._records.get(job)

    def record(self, job: str) -> Record:
        """A job, by its id or the beginning of it.

        Raises:
            LookupError: there is none, or more than one.
        """
        found = [record for name, record in self._records.items() if name == job or name.startswith(job)]
        if len(found) != 1:
            raise LookupError(f"there is no job '{job}'" if not found else f"several jobs begin with '{job}'")
        return found[0]

    def with_bundle(self, digest: str) -> list[Record]:
        """Jobs, over or not, that have the bundle with that digest."""
        return [record for record in self._records.values() if record.bundle.digest == digest]

    async def add(self, record: Record) -> None:
        """A new job.

        Raises:
            StorageError: it cannot be kept, so nobody may count on it.
        """
        record = _dated(record)
        await asyncio.to_thread(self._database.put, JOBS, record.job, encode(record))
        self._records[record.job] = record
        await self._wake()

    async def forget(self, job: str) -> None:
        """Know nothing more of a job.

        Raises:
            StorageError: it cannot be deleted; then it is known as before.
        """
        await asyncio.to_thread(self._database.forget, f"job/{job}")
        await asyncio.to_thread(self._database.delete, JOBS, job)
        self._records.pop(job, None)
        await self._wake()

    async def put(self, record: Record) -> None:
        """What has become of a job."""
        record = _dated(record)
        self.mark(record)
        if record.ended:
            for key in [key for key in self.activity if key[1] == record.job]:
                del self.activity[key]
        await self._keep(JOBS, record.job, encode(record))
        await self._wake()

    def mark(self, record: Record) -> None:
        """The same for now only: after a restart it is as it was kept last."""
        self._records[record.job] = record

    # Nodes.

    def met(self, known: NodeInfo) -> None:
        """A node as it is now."""
        self.nodes[known.name] = known
        self._tasks.spawn(self._keep(NODES, known.name, encode(known)))
        self._tasks.spawn(self._wake())

    def forget_node(self, name: str) -> None:
        """Know nothing more of a node.

        Raises:
            StorageError: it cannot be deleted; then it is known as before.
        """
        self._database.delete(NODES, name)
        del self.nodes[name]
        self._tasks.spawn(self._wake())

    def noted(self, name: str, holds: str) -> None:
        """Which lists of revoked nodes a node has."""
        if name in self.nodes:
            self.met(msgspec.structs.replace(self.nodes[name], holds=holds))

    def warn(self, name: str, warning: str) -> None:
        """Something about a node that an operator must know."""
        if name in self.nodes and self.nodes[name].warning != warning:
            if warning:
                log.warning("%s", warning)
            self.met(msgspec.structs.replace(self.nodes[name], warning=warning))

    def stands(self, activity: RoundActivity) -> None:
        """How a node's part in a job stands now."""
        record = self._records.get(activity.job)
        if record is None or record.ended:
            self.activity.pop((activity.node, activity.job), None)
        else:
            self.activity[activity.node, activity.job] = activity
        self._tasks.spawn(self._wake())

    def models_changed(self) -> None:
        """Something has become of a model: a version, a release, or how it fares."""
        self.model_changes += 1
        self._tasks.spawn(self._wake())

    def approvals_changed(self) -> None:
        """A node waits for its owners to approve a job, or they have spoken."""
        self.approval_changes += 1
        self._tasks.spawn(self._wake())

    async def until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait until something of what is known is so; whether it is, after so many seconds at most."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(is_so)
        except TimeoutError:
            return False
        return True

    # What happened to the cloud.

    def notice(self, text: str) -> None:
        """Something that an operator must know.

        Raises:
            StorageError: it cannot be kept.
        """
        log.warning("%s", text)
        self._database.note(NOTICES, encode(LogLine(time.time(), self._owner, "notice", why=text)))

    def notices(self) -> list[LogLine]:
        """The newest of these, the newest last."""
        return [LINE.decode(body) for _, body in self._database.notes(NOTICES)][-SHOWN:]

    # Logs.

    def note(
        self,
        job: str,
        what: str,
        why: str = "",
        node: str = "",
        child: str = "",
        row: dict[str, float] | None = None,
        over: int = 0,
    ) -> None:
        """A line more in a job's log; without a node it is the cloud's own. ``over``: rounds that are, where more are
        than the record says, which knows those only that counted and were judged."""
        record = self._records.get(job)
        round_ = 0 if record is None else record.done
        if record is not None and record.state == "running" and row is None:
            round_ = min(max(round_, over) + 1, record.rounds)  # It is told during the next one, if there is one.
        line = LogLine(time.time(), node or self._owner, what, child, why, row, round_)
        with logs.about(job, round_):
            log.log(line.level, "%s", line.text if record is None else line.text_of(record))
        if self._closed:
            return
        try:
            self._database.note(f"job/{job}", encode(line))
        except StorageError as error:
            log.error("job %s: %s %s %s (not in its log: %s)", job, what, child, why, error)
        self._tasks.spawn(self._wake())

    def lines(self, job: str, after: int = 0) -> list[tuple[int, LogLine]]:
        """A job's log after a line."""
        return [(n, LINE.decode(body)) for n, body in self._database.notes(f"job/{job}", after)]

    async def watch(self, job: str, after: int = 0) -> AsyncIterator[tuple[int, LogLine]]:
        """A job's log as it grows, until the job is over."""
        while True:
            lines = await asyncio.to_thread(self.lines, job, after)
            for n, line in lines:
                after = n
                yield n, line
            if not lines:
                if self._records[job].ended:
                    return
                async with self._news:
                    if not self._database.notes(f"job/{job}", after, 1) and not self._records[job].ended:
                        await self._news.wait()

    async def news(self) -> None:
        """Wait until something else is so of what is kept here."""
        async with self._news:
            await self._news.wait()

    # Inside.

    async def _keep(self, kind: str, key: str, body: bytes) -> None:
        """Store what can be found out again after a restart, if the disk lets us."""
        if self._closed:
            return
        try:
            await asyncio.to_thread(self._database.put, kind, key, body)
        except StorageError as error:
            if not self._closed:  # Else the database was closed meanwhile, as it should.
                log.error("the cloud cannot keep what it knows of %s: %s", key, error)

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

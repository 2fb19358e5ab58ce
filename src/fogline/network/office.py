"""The cloud's office: which jobs run, and who is connected in the whole tree."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

import msgspec

from fogline.governance.offers import Needs
from fogline.governance.subject import Role, Subject
from fogline.jobs.files import parse_job
from fogline.network.books import Books, Known, Record, Stop
from fogline.network.contract import Blob, Push, Seen, Told
from fogline.network.course import UNFIT, Course, Means, prepare
from fogline.network.node import Node
from fogline.network.tasks import Tasks
from fogline.network.workshop import LONGEST
from fogline.nodes.effects import Move
from fogline.registry import plan as rollouts
from fogline.registry.archive import LARGEST
from fogline.registry.publisher import Publisher
from fogline.registry.release import Tier
from fogline.storage import Value

OPERATORS: frozenset[Role] = frozenset(("operator", "developer"))


class Office:
    """Runs the cloud's jobs. It is told of everything by the node, and commands it.

    Args:
        node: the root of the tree.
        runs: folder for the jobs' results.
        publisher: takes their models as versions.
        parallel: jobs that run at the same time.
    """

    def __init__(self, node: Node, runs: Path, publisher: Publisher, parallel: int = 4) -> None:
        self.node = node
        self.publisher = publisher
        self.books = Books(node.database, node.name)
        self._means = Means(node, self.books, publisher, runs)
        self._parallel = parallel
        self._courses: dict[str, Course] = {}
        self._tasks = Tasks(node.name)

    async def load(self) -> None:
        """Know the jobs of before: until then nobody may ask which of them are over."""
        await asyncio.to_thread(self.books.load)

    def start(self) -> None:
        """Go on with them."""
        for record in self.books.records("running"):
            self._tasks.spawn(self._run(record))
        self._schedule()

    async def close(self) -> None:
        """Stop; running jobs go on at the next start."""
        self._tasks.cancel()
        self.books.close()
        for course in self._courses.values():
            await course.close()

    # What people want.

    async def submit(
        self, by: str, text: str, bundle: Blob, priority: int, needs: Needs, planned: bool, wait: float
    ) -> Record:
        """Put a job into the queue.

        Raises:
            JobError: its text is no job.
            ReleaseError: its model cannot be rolled out as it says.
            StorageError: it cannot be kept.
        """
        job = parse_job(text)
        rollouts.plan_of(job.publish)
        serial = 1 + max((record.serial for record in self.books.records()), default=0)
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in job.name)[:40] or "job"
        record = Record(
            job=f"{name}-{serial}-{secrets.token_hex(2)}",
            name=job.name,
            state="queued",
            priority=priority,
            serial=serial,
            by=by,
            text=text,
            bundle=bundle,
            submitted=time.time(),
            planned=planned,
            wait=wait,
            needs=needs,
            rounds=job.rounds,
        )
        await self.books.add(record)
        self._schedule()
        return record

    async def stop(self, job: str, how: Stop = "keep") -> Record:
        """End a job. ``how``: what it has learned so far is its result, or a version too, or is thrown away.

        Raises:
            LookupError: there is no such job.
        """
        record = self.books.record(job)
        if record.state == "queued":
            await self.books.put(msgspec.structs.replace(record, state="stopped", why="stopped before it began"))
        elif record.state == "running" and record.job in self._courses:
            await self._courses[record.job].stop(how)
        elif record.state == "running":
            await self.books.put(msgspec.structs.replace(record, stop=how))
        return self.books.record(record.job)

    def again(self, job: str) -> None:
        """Put a job into the queue once more, as it was."""
        old = self.books.get(job)
        if old is not None:
            self._tasks.spawn(self.submit(old.by, old.text, old.bundle, old.priority, old.needs, old.planned, old.wait))

    def serving(self) -> dict[str, Tier]:
        """Nodes that are connected and answer predictions, with their tiers."""
        found: dict[str, Tier] = {
            known.name: "fog" if known.role == "fog" else "device"
            for known in self.books.nodes.values()
            if known.up and known.serves
        }
        if self.node.companion is not None:
            found[self.node.name] = "cloud"
        return found

    def cautious(self) -> frozenset[str]:
        """Nodes that serve only versions that people approved."""
        own = self.node.companion
        here = frozenset({self.node.name} if own is not None and own.channel == "stable" else ())
        return here | {known.name for known in self.books.nodes.values() if known.serves == "stable"}

    # What the node tells.

    def seen(self, seen: Seen) -> None:
        """A node came or went."""
        before = self.books.nodes.get(seen.name)
        if not seen.up and before is not None and before.parent != seen.parent:
            return  # It has moved to another parent, and the old one noticed late.
        self.books.met(
            Known(seen.name, seen.role, seen.parent, seen.up, time.time(), seen.offers, seen.why, seen.serves)
        )
        if seen.serves:
            self._tasks.spawn(asyncio.to_thread(self.publisher.seen))

    def told(self, told: Told) -> None:
        """Something for a job's report."""
        if told.job in self._courses:
            self._courses[told.job].told(told)
        self.books.note(told.job, told.what, told.why[:LONGEST], told.node, told.child)

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a bundle is not wanted; None if it is."""
        if subject.role in OPERATORS:
            return None if push.size <= LARGEST else "that is more than a bundle or a model may have"
        return "only operators and developers bring bundles"

    def moved(self, job: str, move: Move, group: Value, seconds: float) -> None:
        """A job's model moved."""
        if job in self._courses:
            self._courses[job].moved(move, group, seconds)

    def has_ended(self, job: str) -> bool:
        """Whether a job is over, or never was."""
        record = self.books.get(job)
        return record is None or record.ended

    def ended(self, job: str, why: str | None, group: Value | None) -> None:
        """A job's rounds are over."""
        if job in self._courses:
            self._courses[job].ended(why, group)

    # Inside.

    def _schedule(self) -> None:
        free = self._parallel - len(self.books.records("running"))
        queue = sorted(self.books.records("queued"), key=lambda record: -record.priority)
        for record in queue[: max(0, free)]:
            self.books.mark(msgspec.structs.replace(record, state="running"))
            self._tasks.spawn(self._run(record))

    async def _run(self, record: Record) -> None:
        """A job from its beginning to its end."""
        job = record.job
        try:
            course = await prepare(self._means, record, self)
        except UNFIT as error:
            await self._over(msgspec.structs.replace(record, state="failed", why=str(error)))
            return
        self._courses[job] = course
        if stop := self.books.record(job).stop:  # Perhaps meanwhile.
            await course.stop(stop)
        await course.begin()
        ended = await course.follow()
        del self._courses[job]
        await self._over(ended)

    async def _over(self, record: Record) -> None:
        self.books.note(record.job, record.state, record.why)  # First: who watches leaves when the job has ended.
        await self.books.put(record)
        self._schedule()

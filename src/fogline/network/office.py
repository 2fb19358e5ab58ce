"""The cloud's office: the queue of jobs, their rounds and results, and who is connected in the whole tree."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec

from fogline.governance.errors import TrustError
from fogline.governance.offers import Needs, Offers
from fogline.governance.subject import Role, Subject, node_name
from fogline.jobs import Job
from fogline.jobs.files import parse_job
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.history import Goal, should_stop
from fogline.monitoring.result import Row
from fogline.network.aggregating import aggregator_maker
from fogline.network.contract import NOTHING, Blob, Push, Seen, Ticket, Told, decoder, encode
from fogline.network.crew import GROUP
from fogline.network.duties import GATHER
from fogline.network.engagement import AGAIN, Engagement
from fogline.network.gate import NotAllowed
from fogline.network.node import Node
from fogline.network.publishing import Origin, publish
from fogline.network.tasks import Tasks
from fogline.network.worker.requests import Conclude, Describe, Described, Judge, Judged
from fogline.network.workshop import LONGEST, WorkerFailed, Workshop, expect
from fogline.nodes.effects import Move
from fogline.nodes.messages import model_key
from fogline.registry import plan as rollouts
from fogline.registry.archive import LARGEST
from fogline.registry.publisher import Publisher
from fogline.registry.release import Tier
from fogline.storage import StorageError, Value

log = logging.getLogger("fogline.network")
State = Literal["queued", "running", "finished", "failed", "stopped"]
ENDED = ("finished", "failed", "stopped")
JOBS, NODES = "job", "node"
OPERATORS: frozenset[Role] = frozenset(("operator", "developer"))


class Record(msgspec.Struct, frozen=True):
    """A job as the office knows it."""

    job: str
    name: str
    state: State
    priority: int
    serial: int
    by: str
    text: str
    bundle: Blob
    submitted: float
    planned: bool = False
    """Whether the first round waits for the clients that the task's data names."""
    wait: float = 60.0
    needs: Needs = Needs()
    rounds: int = 0
    done: int = 0
    why: str = ""
    headline: str = ""
    higher_is_better: bool = True
    units: dict[str, str] = {}


class Known(msgspec.Struct, frozen=True):
    """A node as the office knows it."""

    name: str
    role: str
    parent: str
    up: bool
    since: float
    offers: Offers = NOTHING
    why: str = ""
    serves: bool = False
    """Whether it answers predictions."""


class Line(msgspec.Struct, frozen=True):
    """A line of a job's log."""

    at: float
    node: str
    what: str
    child: str = ""
    why: str = ""
    row: dict[str, float] | None = None


RECORD, KNOWN, LINE = decoder(Record), decoder(Known), decoder(Line)


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
        self.runs = runs
        self.nodes: dict[str, Known] = {}
        self._parallel = parallel
        self._records: dict[str, Record] = {}
        self._running: dict[str, _Running] = {}
        self._stopping: set[str] = set()
        self._news = asyncio.Condition()
        self._tasks = Tasks(node.name)

    async def load(self) -> None:
        """Know the jobs of before: until then nobody may ask which of them are over."""
        for _, body in await asyncio.to_thread(self.node.database.all, JOBS):
            record: Record = RECORD.decode(body)
            self._records[record.job] = record
        for _, body in await asyncio.to_thread(self.node.database.all, NODES):
            known: Known = KNOWN.decode(body)
            self.nodes[known.name] = msgspec.structs.replace(known, up=False, why="the cloud was restarted")

    async def start(self) -> None:
        """Go on with them."""
        for record in list(self._records.values()):
            if record.state == "running":
                self._tasks.spawn(self._begin(record))
        self._schedule()

    async def close(self) -> None:
        """Stop; running jobs go on at the next start."""
        self._tasks.cancel()
        for running in self._running.values():
            await running.judge.close()

    # Jobs.

    async def submit(
        self, by: str, text: str, bundle: Blob, priority: int, needs: Needs, planned: bool, wait: float
    ) -> Record:
        """Put a job into the queue.

        Raises:
            JobError: its text is no job.
            ReleaseError: its model cannot be rolled out as it says.
        """
        job = parse_job(text)
        rollouts.plan_of(job.publish)
        serial = 1 + max((record.serial for record in self._records.values()), default=0)
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
        await asyncio.to_thread(self.node.database.put, JOBS, record.job, encode(record))
        await self._put(record)
        self._schedule()
        return record

    def records(self) -> list[Record]:
        """All jobs, in the order in which they came."""
        return sorted(self._records.values(), key=lambda record: record.serial)

    def record(self, job: str) -> Record:
        """A job, by its id or the beginning of it.

        Raises:
            LookupError: there is none, or more than one.
        """
        found = [record for name, record in self._records.items() if name == job or name.startswith(job)]
        if len(found) != 1:
            raise LookupError(f"there is no job '{job}'" if not found else f"several jobs begin with '{job}'")
        return found[0]

    async def stop(self, job: str) -> Record:
        """End a job: what it has learned so far is its result.

        Raises:
            LookupError: there is no such job.
        """
        record = self.record(job)
        if record.state == "queued":
            await self._put(msgspec.structs.replace(record, state="stopped", why="stopped before it began"))
        elif record.state == "running":
            self._stopping.add(record.job)
            if record.job in self._running:
                self._running[record.job].engagement.halt()
        return self._records[record.job]

    def again(self, job: str) -> None:
        """Put a job into the queue once more, as it was."""
        old = self._records.get(job)
        if old is not None:
            self._tasks.spawn(self.submit(old.by, old.text, old.bundle, old.priority, old.needs, old.planned, old.wait))

    def serving(self) -> dict[str, Tier]:
        """Nodes that are connected and answer predictions, with their tiers."""
        found: dict[str, Tier] = {
            known.name: "fog" if known.role == "fog" else "device"
            for known in self.nodes.values()
            if known.up and known.serves
        }
        if self.node.companion is not None:
            found[self.node.name] = "cloud"
        return found

    def lines(self, job: str, after: int = 0) -> list[tuple[int, Line]]:
        """A job's log after a line."""
        return [(n, LINE.decode(body)) for n, body in self.node.database.notes(f"job/{job}", after)]

    async def watch(self, job: str, after: int = 0) -> AsyncIterator[tuple[int, Line]]:
        """A job's log as it grows, until the job is over."""
        while True:
            lines = await asyncio.to_thread(self.lines, job, after)
            for n, line in lines:
                after = n
                yield n, line
            if not lines:
                if self._records[job].state in ENDED:
                    return
                async with self._news:
                    if not self.node.database.notes(f"job/{job}", after, 1) and self._records[job].state in (
                        "queued",
                        "running",
                    ):
                        await self._news.wait()

    # What the node tells.

    def seen(self, seen: Seen) -> None:
        """A node came or went."""
        known = Known(seen.name, seen.role, seen.parent, seen.up, time.time(), seen.offers, seen.why, seen.serves)
        before = self.nodes.get(seen.name)
        if not seen.up and before is not None and before.parent != seen.parent:
            return  # It has moved to another parent, and the old one noticed late.
        self.nodes[seen.name] = known
        self._tasks.spawn(self._keep(NODES, seen.name, encode(known)))
        if seen.serves:
            self._tasks.spawn(asyncio.to_thread(self.publisher.seen))

    def told(self, told: Told) -> None:
        """Something for a job's report."""
        running = self._running.get(told.job)
        if running is not None:
            running.counts[told.what] += told.amount
            if told.why:
                running.reasons.setdefault(told.what, f"{told.child or told.node}: {told.why[:LONGEST]}")
        self._note(told.job, Line(time.time(), told.node, told.what, told.child, told.why[:LONGEST]))

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a bundle is not wanted; None if it is."""
        if subject.role in OPERATORS:
            return None if push.size <= LARGEST else "that is more than a bundle or a model may have"
        return "only operators and developers bring bundles"

    def moved(self, job: str, move: Move, group: Value, seconds: float) -> None:
        """A job's model moved: it is judged beside, while the next round runs."""
        running = self._running.get(job)
        if running is not None and move.final:
            self.node.shelf.keep(group)
            running.models.append((move, group, seconds))
            running.there.set()

    def has_ended(self, job: str) -> bool:
        """Whether a job is over, or never was."""
        return job not in self._records or self._records[job].state in ENDED

    def ended(self, job: str, why: str | None, group: Value | None) -> None:
        """A job is over."""
        running = self._running.get(job)
        if running is not None:
            if group is not None and running.last is None and not running.models:
                self.node.shelf.keep(group)  # The cloud was restarted since the last move.
                running.last = group
            running.failure = why
            running.over = True
            running.there.set()

    # Inside.

    def _schedule(self) -> None:
        free = self._parallel - sum(record.state == "running" for record in self._records.values())
        queue = sorted(
            (r for r in self._records.values() if r.state == "queued"), key=lambda r: (-r.priority, r.serial)
        )
        for record in queue[: max(0, free)]:
            self._records[record.job] = msgspec.structs.replace(record, state="running")
            self._tasks.spawn(self._begin(record))

    async def _begin(self, record: Record) -> None:
        try:
            running = await self._prepare(record)
        except (NotAllowed, WorkerFailed, ValueError, StorageError, OSError) as error:
            self._stopping.discard(record.job)
            self._note(record.job, Line(time.time(), self.node.name, "failed", "", str(error)))
            await self._put(msgspec.structs.replace(record, state="failed", why=str(error)))
            self._schedule()
            return
        self._running[record.job] = running
        await self._put(running.record)
        self._note(record.job, Line(time.time(), self.node.name, "began"))
        if record.job in self._stopping:
            running.engagement.halt()
        self.node.duties.engage(running.engagement, None)
        await self._follow(running)

    async def _prepare(self, record: Record) -> _Running:
        node = self.node
        ticket = Ticket(record.job, record.text, record.bundle, "", record.needs, record.priority, wait=record.wait)
        code = await asyncio.to_thread(node.gate.admit, ticket, node.shelf.blobs.path(record.bundle.digest))
        judge = node.duties.workshop(ticket, code)
        try:
            return await self._describe(record, ticket, code, judge)
        except (NotAllowed, WorkerFailed, ValueError, StorageError, OSError):
            await judge.close()
            raise

    async def _describe(self, record: Record, ticket: Ticket, code: Path, judge: Workshop) -> _Running:
        node = self.node
        group, model = node.shelf.draft(), node.shelf.draft()
        start = parse_job(record.text).start
        weights = str(await asyncio.to_thread(self.publisher.weights, start)) if start else ""
        facts = expect(Described, await judge.ask(Describe(str(group), str(model), weights)))
        ticket = msgspec.structs.replace(
            ticket,
            text=facts.text,
            layout=facts.layout,
            mode=facts.mode,
            buffer=facts.buffer,
            group_models=facts.group_models,
            plan=plan_of(parse_job(facts.text), facts.plan) if record.planned else {},
            hellos=_wants_details(parse_job(facts.text), facts.mode),
        )
        key = model_key(node.name, 0)
        first = {key + GROUP: await node.shelf.take(group, "group"), key: await node.shelf.take(model, "model")}
        workshop = node.duties.workshop(ticket, code)
        engagement = Engagement(ticket, node, workshop, aggregator_maker(node.name, ticket, GATHER, AGAIN), first, self)
        record = msgspec.structs.replace(
            record,
            state="running",
            headline=facts.headline,
            higher_is_better=facts.higher_is_better,
            units=facts.units,
        )
        folder = RunFolder(self.runs / record.job)
        if not folder.info.exists():
            folder = RunFolder.create(self.runs / record.job, parse_job(facts.text))
        running = _Running(record, parse_job(facts.text), engagement, judge, folder)
        for _, line in await asyncio.to_thread(self.lines, record.job):  # What was counted before a restart.
            if line.what not in ("began", "round", "failed", "not judged", "published", "not published"):
                running.counts[line.what] += 1
                if line.why:
                    running.reasons.setdefault(line.what, f"{line.child or line.node}: {line.why}")
        return running

    async def _follow(self, running: _Running) -> None:
        """Judge a job's models as they come, and conclude it."""
        while not (running.over and not running.models):
            await running.there.wait()
            running.there.clear()
            while running.models:
                move, group, seconds = running.models.popleft()
                if running.enough:  # It was begun while the one that is good enough was judged.
                    self.node.shelf.release([group])
                else:
                    await self._judge(running, move, group, seconds)
        await self._conclude(running)

    async def _judge(self, running: _Running, move: Move, group: Value, seconds: float) -> None:
        done, evaluation = move.round + 1, running.job.evaluation
        row: Row = {
            "round": done,
            "seconds": seconds,
            "wall": seconds,
            "train_loss": float("nan"),
            "updates": float(len(move.members)),
            **running.counts,
        }
        if done % evaluation.every == 0 or done == running.job.rounds:
            try:
                answer = expect(Judged, await running.judge.ask(Judge(self.node.shelf.path(group))))
                row |= answer.metrics
            except (WorkerFailed, StorageError) as error:
                self._note(running.record.job, Line(time.time(), self.node.name, "not judged", "", str(error)))
        if running.last is not None:
            self.node.shelf.release([running.last])
        running.last = group
        if done <= len(running.history):
            return  # A crash came between the move and the record of it; this row is known.
        running.history.append(row)
        try:
            running.folder.append(row)
        except OSError as error:
            self._note(running.record.job, Line(time.time(), self.node.name, "not kept", "", str(error)))
        running.record = msgspec.structs.replace(running.record, done=done)
        await self._put(running.record)
        self._note(running.record.job, Line(time.time(), self.node.name, "round", row=row))
        if running.job.publish.every and done % running.job.publish.every == 0 and done < running.job.rounds:
            await self._publish(running, group, done)
        goal = Goal(running.record.headline, running.record.higher_is_better)
        if should_stop(running.history, evaluation, goal):
            running.enough = True
            running.engagement.halt()

    async def _conclude(self, running: _Running) -> None:
        record, why = running.record, running.failure
        state: State = "failed" if why is not None else "stopped" if record.job in self._stopping else "finished"
        if running.last is not None:
            wall = time.time() - record.submitted
            try:
                path = self.node.shelf.path(running.last)
                await running.judge.ask(
                    Conclude(str(running.folder.path.resolve()), path, dict(running.counts), running.reasons, wall)
                )
            except (WorkerFailed, StorageError) as error:
                state, why = "failed", f"the result could not be written: {error}"
            else:
                await self._publish(running, running.last, record.done)
        await running.judge.close()
        if running.last is not None:
            self.node.shelf.release([running.last])
        del self._running[record.job]
        self._stopping.discard(record.job)
        await self._put(msgspec.structs.replace(record, state=state, why=why or ""))
        self._note(record.job, Line(time.time(), self.node.name, state, "", why or ""))
        self._schedule()

    async def _publish(self, running: _Running, group: Value, rounds: int) -> None:
        """Make a version of a model; a job goes on where that fails."""
        record, path = running.record, self.node.shelf.path(group)
        origin = Origin(running.job, record.job, rounds, record.by, record.bundle.digest)
        try:
            card, notes = await publish(self.publisher, running.judge, self.node.shelf, path, origin)
        except (WorkerFailed, StorageError, TrustError, ValueError) as error:
            self._note(record.job, Line(time.time(), self.node.name, "not published", "", str(error)[:LONGEST]))
            return
        text = f"{card.model} version {card.version}{'. ' if notes else ''}{notes}"
        self._note(record.job, Line(time.time(), self.node.name, "published", "", text[:LONGEST]))

    async def _put(self, record: Record) -> None:
        self._records[record.job] = record
        await self._keep(JOBS, record.job, encode(record))
        await self._wake()

    async def _keep(self, kind: str, key: str, body: bytes) -> None:
        """Store what can be found out again after a restart, if the disk lets us."""
        try:
            await asyncio.to_thread(self.node.database.put, kind, key, body)
        except StorageError as error:
            log.error("the cloud cannot keep what it knows of %s: %s", key, error)

    def _note(self, job: str, line: Line) -> None:
        try:
            self.node.database.note(f"job/{job}", encode(line))
        except StorageError as error:
            log.error("job %s: %s %s %s (not in its log: %s)", job, line.what, line.child, line.why, error)
        self._tasks.spawn(self._wake())

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()


class _Running:
    """A job that runs."""

    def __init__(self, record: Record, job: Job, engagement: Engagement, judge: Workshop, folder: RunFolder) -> None:
        self.record = record
        self.job = job
        self.engagement = engagement
        self.judge = judge
        self.folder = folder
        self.history: list[Row] = folder.history()
        self.counts: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self.models: deque[tuple[Move, Value, float]] = deque()
        self.last: Value | None = None
        self.there = asyncio.Event()
        self.over = False
        self.enough = False
        """Whether its model is as good as the job wanted."""
        self.failure: str | None = None


def plan_of(job: Job, clients: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Children of every aggregator in order, as a simulation has them: devices first, then aggregators."""
    plan = {leaf: tuple(node_name(client) for client in clients.get(leaf, ())) for leaf in job.tree.leaves()}
    for node, parent in job.tree.parents().items():
        if parent is not None:
            plan[parent] = (*plan.get(parent, ()), node)
    return plan


def _wants_details(job: Job, mode: str) -> bool:
    return any(tier.policy != "uniform" or (tier.mode or mode) == "semi-async" for tier in job.tree.tiers.values())

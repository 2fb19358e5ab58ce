"""A job at the cloud: prepared, followed from model to model, published and concluded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fogline.compute.effects import GROUP
from fogline.governance.errors import TrustError
from fogline.governance.subject import node_name
from fogline.jobs import Job
from fogline.jobs.files.reading import parse_job
from fogline.jobs.job import asks_beside, model_name
from fogline.jobs.protection.budget import Account, in_words, why_fewer
from fogline.monitoring.folder import RunFolder, Status
from fogline.monitoring.history import Attendance, TargetMetric, should_stop
from fogline.monitoring.mishaps import Mishaps, lost_in_words
from fogline.monitoring.result import Row
from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.records import MILESTONES, JobProgress, JobState, Record, Stop
from fogline.network.cloud.running.beside import AskedBeside
from fogline.network.cloud.running.pending_rounds import PendingRound, PendingRounds
from fogline.network.cloud.running.publishing import ModelOrigin, publish
from fogline.network.node.node import Node
from fogline.network.node.participation.aggregating import aggregator_maker, surveyor_maker
from fogline.network.node.participation.frozen import FROZEN
from fogline.network.node.participation.participation import JobParticipation
from fogline.network.node.participation.replay import ModelMoved
from fogline.network.node.participation.root_job import RootJob
from fogline.network.node.participation.standing import RoundCounts
from fogline.network.node.participation.survey import SurveyEndedError
from fogline.network.node.site.admission import NotAllowedError
from fogline.network.timing import JOIN_WINDOW
from fogline.network.transport.messages import BROKEN, SPENT, UNAPPROVED, Blob, JobAnnouncement, JobLog
from fogline.network.worker.client import LONGEST, WorkerClient, WorkerError, expect
from fogline.network.worker.requests import (
    Conclude,
    Describe,
    Described,
    Evaluate,
    Evaluated,
)
from fogline.nodes.messages import model_key
from fogline.registry.fitness import Judgement, Progressed
from fogline.registry.publisher import Publisher
from fogline.retries import REPORT_AGAIN
from fogline.storage import BlobRef, StorageError

UNFIT = (NotAllowedError, WorkerError, ValueError, StorageError, OSError)
"""What keeps a job from beginning."""


@dataclass(frozen=True)
class Means:
    """What jobs are run with."""

    node: Node
    """The root of the tree."""
    job_store: JobStore
    publisher: Publisher
    runs: Path
    """Folder for results."""


class JobRun:
    """A job that runs. Made by :func:`prepare`.

    Args:
        means: what it is run with.
        record: the job.
        job: what it says.
        announcement: the job, as nodes are told of it.
        code: where its code lies.
        first: values that it begins with; they are kept for it until its journal names them.
        judge: the worker that judges its models.
        folder: takes its results.
        note: what people should know as it begins; empty: nothing.
        measures: whether devices measure running statistics of a model before it is judged or handed out.

    Raises:
        NotAllowedError: the job's tree has no cloud.
    """

    def __init__(
        self,
        means: Means,
        record: Record,
        job: Job,
        announcement: JobAnnouncement,
        code: Path,
        first: dict[str, BlobRef],
        judge: WorkerClient,
        folder: RunFolder,
        note: str = "",
        measures: bool = False,
    ) -> None:
        node = means.node
        self._participation = JobParticipation(
            announcement,
            node,
            node.job_manager.worker_client(announcement, code),
            aggregator_maker(node.name, job, announcement, JOIN_WINDOW, REPORT_AGAIN),
            RootJob(first, self._moved, self._ended),
            surveyor=surveyor_maker(node.name, job, announcement, REPORT_AGAIN) if announcement.surveys else None,
        )
        self._means = means
        self._first = list(first.values())
        self._record = record
        self._job = job
        self._judge = judge
        self._folder = folder
        self._words = note
        self._account = None if job.privacy is None else Account(job, announcement.traits.mode)
        self._history: list[Row] = folder.history()
        self._attendance = Attendance(self._history)
        self._mishaps = Mishaps()
        self._pending = PendingRounds(means.node.value_store, self._history)
        self._last: BlobRef | None = None
        self.unapproved: set[str] = set()
        """Nodes that wait for their owners."""
        said = folder.answers, folder.judged
        self._beside = AskedBeside(
            node.value_store, judge, lambda: self._participation.survey, self._note, measures, *said
        )
        self._spent: set[str] = set()
        """Devices whose data may give away nothing more for it."""
        self._there = asyncio.Event()
        self._over = False
        self._enough = False
        """Whether its model is as good as the job wanted."""
        self._failure: str | None = None
        self._rounds = RoundCounts()
        """Those that it had, once it is over."""
        self._moved_at = time.time()

    async def recount(self) -> None:
        """Count what was told before a restart."""
        after = 0
        while lines := await asyncio.to_thread(self._means.job_store.lines, self._record.job, after):
            after = lines[-1][0]
            for _, line in lines:
                if line.what not in MILESTONES:
                    self._mishaps.count(line.what, line.child or line.node, line.why)

    async def begin(self) -> None:
        """Begin the job's first round."""
        done = int(self._history[-1]["round"]) if self._history else 0  # A crash may have come after the last row.
        self._record = msgspec.structs.replace(self._record, done=done)
        await self._means.job_store.put(self._record)
        self._note("began")
        if self._words:
            self._note("budget", self._words)
        if self._has_enough():  # It came to that just before a crash, and has not said so yet.
            self._participation.halt()
        self._means.node.job_manager.engage(self._participation, None)

    async def close(self) -> None:
        """End its worker; it goes on at the next start."""
        await self._judge.close()

    async def stop(self, how: Stop) -> Record:
        """The operator ends it; what it is now."""
        self._record = msgspec.structs.replace(self._record, stop=how)
        await self._means.job_store.put(self._record)
        self._participation.halt()
        if self._participation.survey is not None:
            self._participation.survey.give_up("the job was stopped")
        return self._record

    def owners_spoke(self, record: Record) -> None:
        """Tell the nodes what owners said of it; who still waits tells that again."""
        self._record = msgspec.structs.replace(self._record, approvals=record.approvals)
        self.unapproved.clear()
        self._means.job_store.approvals_changed()
        announcement = msgspec.structs.replace(self._participation.announcement, approvals=record.approvals)
        self._means.node.job_manager.renew(self._participation, announcement)

    @property
    def readiness(self) -> str:
        """How many devices have loaded it, for people."""
        ready = sum(hello.devices for hello in self._participation.children.values())
        devices = sum(node.up and node.role == "device" for node in self._means.job_store.nodes.values())
        return f"{ready} of {max(ready, devices)} devices have loaded it"

    @property
    def progress(self) -> JobProgress:
        """How it fares."""
        limit = None if self._job.privacy is None else self._job.privacy.epsilon
        return JobProgress(self._record, self._history, self._moved_at, self._mishaps.counts, limit)

    @property
    def rounds_over(self) -> int:
        """Rounds of the root that are over, counted or not, judged or not."""
        return (self._rounds if self._over else self._participation.rounds).over

    def over_when(self, told: JobLog) -> int:
        """How many of them were when a node told something: of a lost round it tells just after its end."""
        return self.rounds_over - (told.node == self._means.node.name and told.what == "abandoned")

    def hear(self, told: JobLog) -> None:
        """A node has something for the job's report."""
        self._mishaps.count(told.what, told.child or told.node, told.why[:LONGEST], told.amount)
        if told.what == UNAPPROVED:
            self.unapproved.add(told.child or told.node)
            self._means.job_store.approvals_changed()
        if told.what == SPENT:
            self._spent.add(told.node)
        if self._spent and self._is_spent():
            self._participation.halt()  # It waits for nobody who could come.
        if told.what == BROKEN:
            why = told.why[:LONGEST]
            self._participation.halt(why if why.startswith(told.node) else f"{told.node}: {why}")

    def _is_spent(self) -> bool:
        """Whether too few are left for another round, and as many as ever were in one may give away nothing more."""
        left, needed = self._participation.children, next(iter(self._job.tree.tiers.values())).fewest
        most = max((row["devices"] for row in self._history), default=1.0)
        devices = sum(hello.devices for hello in left.values())
        return len(self._spent) >= most - devices and (len(left) < needed or devices < self._job.tree.minimum)

    # What its participation tells.

    def _moved(self, move: ModelMoved, group: BlobRef | None) -> None:
        """The model moved: it is judged beside, while the next round runs."""
        self._begun()
        if self._pending.hear(move, group):
            self._there.set()

    def _ended(self, why: str | None, group: BlobRef | None) -> None:
        """Its rounds are over."""
        self._begun()
        if group is not None and self._last is None and not self._pending:
            self._means.node.value_store.keep(group)  # The cloud was restarted since the last move.
            self._last = group
        self._failure, self._rounds = why, self._participation.rounds
        self._over = True
        self._there.set()

    def _begun(self) -> None:
        """The journal names what it began with, or something newer."""
        first, self._first = self._first, []
        self._means.node.value_store.release(first)

    # Its rounds.

    async def follow(self) -> Record:
        """Judge models as they come, and conclude the job; how it ended."""
        while not (self._over and not self._pending):
            await self._there.wait()
            self._there.clear()
            while self._pending:
                if self._enough:  # They were begun while the one that is good enough was judged.
                    self._pending.drop()
                else:
                    await self._take(self._pending.take())
        return await self._conclude()

    async def _take(self, over: PendingRound) -> None:
        round_, group, evaluation = over.move.round, over.group, self._job.evaluation
        done, row, publish_every = round_ + 1, over.row(self._mishaps.counts), self._job.publish.every
        publishes = bool(publish_every) and done % publish_every == 0 and done < self._job.rounds
        judges = publishes or done % evaluation.every == 0 or done == self._job.rounds
        if self._account is not None:
            known = await asyncio.to_thread(self._account.epsilon, done)
            row |= {} if known is None else {"epsilon": known}
        if group is None:
            self._note("not judged", f"the cloud was restarted, and what round {done} came to is gone")
            await self._enter(row, done)
            return
        if judges:
            group = await self._beside.measure(group, round_, asks=not self._record.stop)
        found = await self._found(group, round_, judges)
        row |= found
        if not self._record.stop:
            await self._beside.query(self._job.queries, round_)
        self._put_away(group)
        await self._enter(row, done)
        if publishes and not self._record.stop:
            await self._publish(group, "running", found)
        if self._has_enough():
            self._enough = True
            self._participation.halt()

    def _has_enough(self) -> bool:
        """Whether its history says that no more rounds are wanted."""
        goal = TargetMetric(self._record.headline, self._record.higher_is_better)
        return should_stop(self._history, self._job.evaluation, goal)

    async def _found(self, group: BlobRef, round_: int, judges: bool = True) -> dict[str, float]:
        """What devices said of themselves in a round; and, if it is to be judged, what is found of its model."""
        found: dict[str, float] = {}
        try:
            path = self._means.node.value_store.path(group)
            at_cloud = expect(Evaluated, await self._judge.ask(Evaluate(path, judges)))
            found |= at_cloud.metrics | at_cloud.reported
            if judges and self._job.evaluation.on_devices and not self._record.stop:
                found |= await self._beside.judge(group, round_)
        except (WorkerError, StorageError, SurveyEndedError) as error:
            self._note("not judged", str(error))
        return found

    def _put_away(self, group: BlobRef | None) -> None:
        """This model is the newest now; the one before is not needed any more."""
        if self._last is not None:
            self._means.node.value_store.release([self._last])
        self._last = group

    async def _enter(self, row: Row, done: int) -> None:
        """A round more in the history."""
        self._history.append(row)
        self._moved_at = time.time()
        try:
            self._folder.append(row)
        except OSError as error:
            self._note("not kept", str(error))
        self._record = msgspec.structs.replace(self._record, done=done)
        await self._means.job_store.put(self._record)
        self._note("round", row=row)
        if warning := self._attendance.saw(row):
            self._note("fewer devices", warning)

    async def _conclude(self) -> Record:
        why, stop = self._failure, self._record.stop
        if why is None and not stop and not self._history:
            why = self._mishaps.nothing_learned(self._job.rounds)
        metrics: dict[str, float] | None = None
        if self._last is not None and stop != "discard":
            self._last = await self._beside.measure(self._last, self._job.rounds - 1, asks=not stop)
            why = why or self._beside.unmeasured
            if self._job.evaluation.on_devices and not stop and not self._beside.found_of(self._last):
                await self._found(self._last, self._job.rounds - 1)  # The last rounds did not count.
            metrics, unwritten = await self._write(self._last)
            why = unwritten or why
        state: JobState = "failed" if why is not None else "stopped" if stop else "finished"
        if metrics is None:
            self._mark("failed" if why is not None else "interrupted")
        if self._last is not None and metrics is not None:
            await self._publish(self._last, state, metrics)
        await self._judge.close()
        self._put_away(None)
        if self._job.privacy is not None and self._history and "epsilon" in self._history[-1]:
            self._note("privacy", in_words(self._job.privacy, self._history[-1]["epsilon"]))
        self._participation.conclude()
        lost = self._rounds.lost
        why = why or (lost_in_words(lost, self._job.rounds, self._mishaps.told("abandoned")) if lost else "")
        return msgspec.structs.replace(self._record, state=state, why=why, lost=lost)

    def _mark(self, status: Status) -> None:
        """Say in the run's folder how it ended, where no result says it."""
        try:
            self._folder.mark(status)
        except OSError as error:
            self._note("not kept", str(error))

    async def _write(self, group: BlobRef) -> tuple[dict[str, float] | None, str | None]:
        """The result, in the run's folder: what it was judged, or why it could not be written."""
        folder, wall = str(self._folder.path.resolve()), time.time() - self._record.submitted
        mishaps = self._mishaps
        try:
            path = self._means.node.value_store.path(group)
            sums, queries = self._beside.found_of(group), self._beside.answers
            counts, reasons, lost = dict(mishaps.counts), mishaps.reasons, self._rounds.lost
            asked = Conclude(folder, path, counts, reasons, wall, sums, queries, mishaps.cut_off, lost)
            return expect(Evaluated, await self._judge.ask(asked)).metrics, None
        except (WorkerError, StorageError) as error:
            return None, f"the result could not be written: {error}"

    async def _publish(self, group: BlobRef, state: Progressed, metrics: Mapping[str, float]) -> None:
        """Make a version of a model, if it deserves to be one; the job goes on where that fails."""
        record, value_store = self._record, self._means.node.value_store
        outcome = Judgement(state, record.headline, record.higher_is_better, metrics, asked=record.stop == "publish")
        served = await asyncio.to_thread(self._means.publisher.served, model_name(self._job))
        if (unfit := outcome.unfit(self._job.publish, served)) is not None:
            self._note("not published", unfit)
            return
        origin = ModelOrigin(self._job, record.job, record.done, record.by, record.bundle.digest)
        try:
            card, notes = await publish(
                self._means.publisher, self._judge, value_store, value_store.path(group), origin, metrics
            )
        except (WorkerError, StorageError, TrustError, ValueError) as error:
            self._note("not published", str(error)[:LONGEST])
            return
        text = f"{card.model} version {card.version}{'. ' if notes else ''}{notes}"
        self._note("published", text[:LONGEST])

    def _note(self, what: str, why: str = "", row: Row | None = None) -> None:
        self._means.job_store.note(self._record.job, what, why, row=row, over=self.rounds_over)


async def prepare(means: Means, record: Record) -> JobRun:
    """Have a job's worker load it, and make all that its rounds begin with.

    Args:
        means: what it is run with.
        record: the job.

    Raises:
        NotAllowedError, WorkerError, ValueError, StorageError, OSError: see :data:`UNFIT`.
    """
    node = means.node
    asked = parse_job(record.text)
    announcement = JobAnnouncement(
        record.job,
        record.text,
        record.bundle,
        layout="",
        needs=asked.needs.told(),
        priority=record.priority,
        wait=record.wait,
        nodes=record.nodes,
        approvals=record.approvals,
        fleet_policy=node.admission.fleet_policy.held,
    )
    code = await asyncio.to_thread(
        node.admission.admit, announcement, node.value_store.blobs.path(record.bundle.digest)
    )
    judge = node.job_manager.worker_client(
        announcement, code, frozen=await asyncio.to_thread(_frozen, node, record.job)
    )
    try:
        return await _described(means, record, asked, announcement, code, judge)
    except (*UNFIT, asyncio.CancelledError):
        await judge.close()
        raise


async def _described(
    means: Means, record: Record, asked: Job, announcement: JobAnnouncement, code: Path, judge: WorkerClient
) -> JobRun:
    node = means.node
    group, model, frozen = (node.value_store.draft() for _ in range(3))
    weights = str(await asyncio.to_thread(means.publisher.weights, asked.start)) if asked.start else ""
    key = model_key(node.name, 0)
    facts = expect(Described, await judge.ask(Describe(str(group), str(model), key, weights, str(frozen))))
    job = parse_job(facts.text)
    first = {key + GROUP: await node.value_store.take(group, "group"), key: await node.value_store.take(model, "model")}
    if facts.frozen:
        digest, size = await asyncio.to_thread(node.value_store.blobs.adopt, frozen)
        first[FROZEN] = BlobRef(digest, size, FROZEN)
        judge.opening = msgspec.structs.replace(judge.opening, frozen=node.value_store.path(first[FROZEN]))
    for value in first.values():  # Another job may have begun with the same numbers, and need them no more.
        node.value_store.keep(value)
    announcement = msgspec.structs.replace(
        announcement,
        text=facts.text,
        layout=facts.layout,
        frozen=Blob(first[FROZEN].digest, first[FROZEN].size) if facts.frozen else None,
        traits=facts.traits,
        plan=plan_of(job, facts.plan) if record.planned else {},
        hellos=job.tree.wants_details(facts.traits.mode),
        surveys=asks_beside(job) or facts.measures,
    )
    folder = RunFolder(means.runs / record.job)
    if not folder.info.exists():
        folder = RunFolder.create(folder.path, job, by_cloud=True)
    running = msgspec.structs.replace(
        record,
        state="running",
        rounds=job.rounds,
        headline=facts.headline,
        higher_is_better=facts.higher_is_better,
        units=facts.units,
    )
    job_run = JobRun(
        means, running, job, announcement, code, first, judge, folder, why_fewer(asked, job), facts.measures
    )
    await job_run.recount()
    return job_run


def _frozen(node: Node, job: str) -> str:
    """The frozen entries of a job that was running when the cloud stopped; empty for any other.

    What ``start`` names in the registry may be another version by now.
    """
    kept = node.database.values(job).get(FROZEN)
    return "" if kept is None else node.value_store.path(kept)


def plan_of(job: Job, clients: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Children of every aggregator in order, as a simulation has them: devices first, then aggregators."""
    plan = {leaf: tuple(node_name(client) for client in clients.get(leaf, ())) for leaf in job.tree.leaves()}
    for node, parent in job.tree.parents().items():
        if parent is not None:
            plan[parent] = (*plan.get(parent, ()), node)
    return plan

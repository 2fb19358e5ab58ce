"""Which jobs run, and who is connected in the whole tree."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fogline.governance.policy.offers import Needs
from fogline.governance.roles import refusal
from fogline.governance.subject import Subject
from fogline.jobs.files import parse_job
from fogline.network.cloud.job_run import UNFIT, JobRun, Means, prepare
from fogline.network.cloud.job_store import JobStore, NodeInfo, Record, Stop
from fogline.network.cloud.restores import Restores
from fogline.network.node.node import Node
from fogline.network.transport.grpc import BEAT, SILENCE
from fogline.network.transport.messages import Blob, ClonedIdentity, HeldRevocations, JobLog, NodeSeen, Push
from fogline.network.worker.client import LONGEST
from fogline.nodes.effects import Move
from fogline.processes.tasks import Tasks
from fogline.registry import rollout_events as rollouts
from fogline.registry.archive import LARGEST
from fogline.registry.publisher import Publisher
from fogline.registry.release import Tier
from fogline.storage import BlobRef, StorageError

log = logging.getLogger("fogline.network")
NOTICED = 2 * (BEAT + SILENCE)
"""Seconds after which a parent has noticed, and said, that a child is gone."""
HEARD = 10.0
"""Seconds, at most, that who revokes a node waits for all fogs that are connected to have heard of it."""


def arrival(name: str, at: Sequence[str], late: Sequence[str], away: Sequence[str]) -> str:
    """Where a node that was revoked is cut off, and where not yet."""
    if not late and not away:
        others = f" Heard by {', '.join(at)}." if len(at) > 1 else ""
        return f"{name} is cut off; to come back it needs a new token.{others}"
    missing = [*(f"{fog} (connected, but did not answer)" for fog in late), *(f"{fog} (away)" for fog in away)]
    return (
        f"{name} is revoked, and cut off at {', '.join(at)}, but not yet below {', '.join(missing)}: until these have "
        "heard of it, which they do when they are connected, it can still come in there."
    )


def twin_warning(twins: ClonedIdentity) -> str:
    """What the operator is told of two programs with one identity."""
    return (
        f"two programs use the identity of {twins.name}: one at {twins.here or '?'}, connected to {twins.parent}, and "
        f"one at {twins.there or '?'}. If its folder was copied, run: fogline nodes revoke {twins.name}, and let each "
        "machine join with a token and a name of its own"
    )


def _same(before: NodeInfo, seen: NodeSeen) -> bool:
    """Whether a node is only told of once more: by a fog whose connection was lost for a moment."""
    return seen.up and before.up and (before.parent, before.instance) == (seen.parent, seen.instance)


class JobScheduler:
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
        self.job_store = JobStore(node.database, node.name)
        self._restores = Restores(self.job_store, publisher, node.database)
        self._means = Means(node, self.job_store, publisher, runs)
        self._parallel = parallel
        self._job_runs: dict[str, JobRun] = {}
        self._doubts: dict[str, tuple[asyncio.TimerHandle, NodeInfo]] = {}
        """Names under which two programs may be connected, until their first parent says that the first is gone."""
        self._tasks = Tasks(node.name)

    async def load(self) -> None:
        """Know the jobs of before: until then nobody may ask which of them are over."""
        await asyncio.to_thread(self.job_store.load)
        await asyncio.to_thread(self._restores.load)

    def start(self) -> None:
        """Go on with them."""
        for record in self.job_store.records("running"):
            self._tasks.spawn(self._run(record))
        self._schedule()

    async def close(self) -> None:
        """Stop; running jobs go on at the next start."""
        self._tasks.cancel()
        for timer, _ in self._doubts.values():
            timer.cancel()
        self.job_store.close()
        for job_run in self._job_runs.values():
            await job_run.close()

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
        serial = self.job_store.next_serial(self._restores.floors.jobs)
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
        await self.job_store.add(record)
        self._schedule()
        return record

    async def stop(self, job: str, how: Stop = "keep") -> Record:
        """End a job. ``how``: what it has learned so far is its result, or a version too, or is thrown away.

        Raises:
            LookupError: there is no such job.
        """
        record = self.job_store.record(job)
        if record.state == "queued":
            await self.job_store.put(msgspec.structs.replace(record, state="stopped", why="stopped before it began"))
        elif record.state == "running" and record.job in self._job_runs:
            await self._job_runs[record.job].stop(how)
        elif record.state == "running":
            await self.job_store.put(msgspec.structs.replace(record, stop=how))
        return self.job_store.record(record.job)

    async def revoke(self, name: str) -> str:
        """Cut a node off; a sentence on where it is cut off by now."""
        node, unkept = self.node, ""
        try:
            node.admission.revoke(name)
        except StorageError as error:
            unkept = f" The cloud cannot keep that beyond a restart: {error}."
        log.warning("%s is revoked", name)
        node.spread_revoked()
        self.job_store.warn(name, "")
        await self.job_store.until(lambda: not self._fogs(name, up=True), HEARD)
        late, away = self._fogs(name, up=True), self._fogs(name, up=False)
        return arrival(name, [node.name, *self._reached(name)], late, away) + unkept

    def _fogs(self, name: str, up: bool) -> list[str]:
        """Fogs that have not heard of the newest revocations."""
        admission = self.node.admission
        return [
            fog.name
            for fog in self._aggregators(name)
            if fog.up == up
            and fog.holds != admission.holds
            and (up or fog.name.lower() not in admission.revocations.names)
        ]

    def _reached(self, name: str) -> list[str]:
        return [fog.name for fog in self._aggregators(name) if fog.holds == self.node.admission.holds]

    def _aggregators(self, but: str) -> list[NodeInfo]:
        return [
            node for node in self.job_store.nodes.values() if node.role == "fog" and node.name.lower() != but.lower()
        ]

    def result(self, job: str) -> Path:
        """The folder of a job's run.

        Raises:
            LookupError: it has none yet.
        """
        folder = self._means.runs / job
        if not folder.is_dir():
            raise LookupError(f"job {job} has no result yet: it is {self.job_store.record(job).state}")
        return folder

    def again(self, job: str) -> None:
        """Put a job into the queue once more, as it was."""
        old = self.job_store.get(job)
        if old is not None:
            self._tasks.spawn(self.submit(old.by, old.text, old.bundle, old.priority, old.needs, old.planned, old.wait))

    def serving(self) -> dict[str, Tier]:
        """Nodes that are connected and answer predictions, with their tiers."""
        found: dict[str, Tier] = {
            known.name: "fog" if known.role == "fog" else "device"
            for known in self.job_store.nodes.values()
            if known.up and known.serves
        }
        if self.node.serving is not None:
            found[self.node.name] = "cloud"
        return found

    def cautious(self) -> frozenset[str]:
        """Nodes that serve only versions that people approved."""
        own = self.node.serving
        here = frozenset({self.node.name} if own is not None and own.channel == "stable" else ())
        return here | {known.name for known in self.job_store.nodes.values() if known.serves == "stable"}

    # What the node tells.

    def seen(self, seen: NodeSeen) -> None:
        """A node came or went."""
        before = self.job_store.nodes.get(seen.name)
        self._look_for_twins(seen, before)
        if not seen.up and before is not None and before.parent != seen.parent:
            return  # It has moved to another parent, and the old one noticed late.
        self.job_store.met(
            NodeInfo(
                seen.name,
                seen.role,
                seen.parent,
                seen.up,
                before.since if before is not None and _same(before, seen) else time.time(),
                seen.offers,
                seen.why,
                seen.serves,
                seen.address,
                seen.instance,
                seen.holds,
                "" if before is None else before.warning,
            )
        )
        if seen.serves:
            self._tasks.spawn(asyncio.to_thread(self.publisher.seen))

    def _look_for_twins(self, seen: NodeSeen, before: NodeInfo | None) -> None:
        """Two programs with one identity below two parents: neither parent sees both.

        One that was started again, below another parent, is no copy: the parent of before notices in a while.
        """
        if not seen.up:
            if seen.name in self._doubts and self._doubts[seen.name][1].parent == seen.parent:
                self._doubts.pop(seen.name)[0].cancel()
            return
        if before is None or not before.up or before.parent == seen.parent or not before.instance:
            return
        if before.instance != seen.instance and seen.name not in self._doubts:
            timer = asyncio.get_running_loop().call_later(NOTICED, self._found_twins, seen, before)
            self._doubts[seen.name] = (timer, before)

    def _found_twins(self, seen: NodeSeen, before: NodeInfo) -> None:
        self._doubts.pop(seen.name, None)
        self.twins(ClonedIdentity(seen.name, seen.parent, seen.address, before.address))

    def holds(self, holds: HeldRevocations) -> None:
        """A fog has newer lists of revoked nodes now."""
        self.job_store.noted(holds.name, holds=holds.holds)

    def twins(self, twins: ClonedIdentity) -> None:
        """Two programs show one identity."""
        self.job_store.warn(twins.name, twin_warning(twins))

    def arrived(self, name: str, since: int) -> None:
        """A child is there, whose certificate says since when it is a member."""
        self._tasks.spawn(self._restores.arrived(name, since))

    def shown(self, timestamp: bytes) -> None:
        """A node has a newer timestamp of releases."""
        self._tasks.spawn(self._restores.shown(timestamp))

    def recalled(self) -> None:
        """A node had revocations that were forgotten here."""
        self._tasks.spawn(self._restores.recalled())

    def told(self, told: JobLog) -> None:
        """Something for a job's report."""
        if told.job in self._job_runs:
            self._job_runs[told.job].told(told)
        self.job_store.note(told.job, told.what, told.why[:LONGEST], told.node, told.child)

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a bundle is not wanted; None if it is."""
        refused = refusal(subject, "Operator/Submit")
        if refused is not None:
            return refused
        return None if push.size <= LARGEST else "that is more than a bundle or a model may have"

    def moved(self, job: str, move: Move, group: BlobRef, seconds: float) -> None:
        """A job's model moved."""
        if job in self._job_runs:
            self._job_runs[job].moved(move, group, seconds)

    def has_ended(self, job: str) -> bool:
        """Whether a job is over, or never was."""
        record = self.job_store.get(job)
        return record is None or record.ended

    def ended(self, job: str, why: str | None, group: BlobRef | None) -> None:
        """A job's rounds are over."""
        if job in self._job_runs:
            self._job_runs[job].ended(why, group)

    # Inside.

    def _schedule(self) -> None:
        free = self._parallel - len(self.job_store.records("running"))
        queue = sorted(self.job_store.records("queued"), key=lambda record: -record.priority)
        for record in queue[: max(0, free)]:
            self.job_store.mark(msgspec.structs.replace(record, state="running"))
            self._tasks.spawn(self._run(record))

    async def _run(self, record: Record) -> None:
        """A job from its beginning to its end."""
        job = record.job
        try:
            job_run = await prepare(self._means, record, self)
        except UNFIT as error:
            await self._over(msgspec.structs.replace(record, state="failed", why=str(error)))
            return
        self._job_runs[job] = job_run
        if stop := self.job_store.record(job).stop:  # Perhaps meanwhile.
            await job_run.stop(stop)
        await job_run.begin()
        ended = await job_run.follow()
        del self._job_runs[job]
        await self._over(ended)

    async def _over(self, record: Record) -> None:
        self.job_store.note(record.job, record.state, record.why)  # First: who watches leaves when the job has ended.
        await self.job_store.put(record)
        self._schedule()

"""Which jobs run."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from pathlib import Path

import msgspec

from fogline.governance.approvals.standing import Standing
from fogline.jobs.files.reading import parse_job
from fogline.network.cloud.records import JobProgress, JobState, Record, Stop
from fogline.network.cloud.restores import Restores
from fogline.network.cloud.running.job_run import UNFIT, JobRun, Means, prepare
from fogline.network.node.site.admission import UnapprovedError
from fogline.network.transport.messages import Blob, JobLog
from fogline.network.worker.client import LONGEST
from fogline.processes.tasks import Tasks
from fogline.registry import rollout_events as rollouts

log = logging.getLogger("fogline.network")
SHOWN = 10
"""Jobs that a sentence names."""
TOO_EARLY = "stopped before it began"


class JobScheduler:
    """Runs the cloud's jobs.

    Args:
        means: what they are run with.
        restores: knows below what number none may begin.
        parallel: jobs that run at the same time.
    """

    def __init__(self, means: Means, restores: Restores, parallel: int = 4) -> None:
        self.node = means.node
        self.job_store = means.job_store
        self._means = means
        self._restores = restores
        self._parallel = parallel
        self._job_runs: dict[str, JobRun] = {}
        self._preparing: dict[str, asyncio.Task[JobRun]] = {}
        """Jobs that the cloud loads for the first time, so that nothing of theirs is anywhere else yet."""
        self._tasks = Tasks(self.node.name)

    async def load(self) -> None:
        """Know the jobs of before: until then nobody may ask which of them are over."""
        await asyncio.to_thread(self.job_store.load)
        await asyncio.to_thread(self._restores.load)

    def start(self) -> None:
        """Go on with the jobs that were running when the cloud stopped."""
        for record in self.job_store.records("running"):
            self._tasks.spawn(self._run(record))
        self._schedule()

    async def close(self) -> None:
        """Stop; running jobs go on at the next start."""
        self._tasks.cancel()
        self.job_store.close()
        for job_run in self._job_runs.values():
            await job_run.close()

    # What people want.

    async def submit(
        self,
        by: str,
        text: str,
        bundle: Blob,
        priority: int,
        planned: bool,
        wait: float,
        nodes: tuple[str, ...] = (),
    ) -> Record:
        """Put a job into the queue; or let it wait until the owners have approved it, as the cloud's policy says.

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
            rounds=job.rounds,
            nodes=nodes,
        )
        standing = await self.standing(record)
        if standing is not None and standing.state == "waiting":
            record = msgspec.structs.replace(record, state="waiting", why=standing.why)
        await self.job_store.add(record)
        self._schedule()
        return record

    async def stop(self, job: str, how: Stop = "keep") -> Record:
        """End a job. ``how``: what it has learned so far is its result, or a version too, or is thrown away.

        Raises:
            LookupError: there is no such job.
        """
        record = self.job_store.record(job)
        if record.state in ("queued", "waiting"):
            await self.job_store.put(msgspec.structs.replace(record, state="stopped", why=TOO_EARLY))
        elif record.state == "running" and record.job in self._job_runs:
            await self._job_runs[record.job].stop(how)
        elif record.state == "running":
            await self.job_store.put(msgspec.structs.replace(record, stop=how))
            if record.job in self._preparing:
                self._preparing[record.job].cancel()
        return self.job_store.record(record.job)

    async def standing(self, record: Record) -> Standing | None:
        """How a job stands with the owners whom the cloud's policy names; None where it needs no approval."""
        blobs, digest = self.node.value_store.blobs, record.bundle.digest
        admission, job = self.node.admission, record.job
        return await asyncio.to_thread(lambda: admission.standing(blobs.path(digest), digest, job, record.approvals))

    async def owners_spoke(self, job: str, approvals: tuple[bytes, ...]) -> Record:
        """Owners said more to a job: it begins, goes on, or ends.

        Raises:
            LookupError: there is no such job.
            StorageError: it cannot be kept, so nobody may count on it.
        """
        record = msgspec.structs.replace(self.job_store.record(job), approvals=approvals)
        standing = await self.standing(record)
        state = "approved" if standing is None else standing.state
        why = "" if standing is None or state == "approved" else standing.why
        if record.state == "waiting":
            next_state: JobState = "queued" if state == "approved" else "stopped" if state == "refused" else "waiting"
            record = msgspec.structs.replace(record, state=next_state, why=why)
        await self.job_store.add(record)
        if record.ended:
            self.job_store.note(record.job, record.state, record.why)
        if record.job in self._job_runs:
            self._job_runs[record.job].owners_spoke(record)
            if state == "refused":
                await self._job_runs[record.job].stop("discard")
        self._schedule()
        return self.job_store.record(record.job)

    def unapproved(self, job: str) -> tuple[str, ...]:
        """Nodes that wait for their owners before they take part in a job."""
        job_run = self._job_runs.get(job)
        return () if job_run is None else tuple(sorted(job_run.unapproved))

    def shown(self, record: Record) -> Record:
        """The record as people see it: of a job whose first round is not over, with what it waits for."""
        if record.state != "running" or record.done:
            return record
        job_run = self._job_runs.get(record.job)
        why = "the cloud loads it" if job_run is None else job_run.readiness
        return msgspec.structs.replace(record, why=why)

    def progress(self) -> list[JobProgress]:
        """How the jobs that run fare."""
        return [job_run.progress for job_run in self._job_runs.values()]

    def result(self, job: str) -> Path:
        """The folder of a job's run.

        Raises:
            LookupError: it has none yet.
        """
        folder = self._means.runs / job
        if not folder.is_dir():
            raise LookupError(f"job {job} has no result yet: it is {self.job_store.record(job).state}")
        return folder

    async def forget(self, name: str, older: float | None) -> str:
        """Know nothing more of a job that is over, or of all that have been over for so many seconds; a sentence.

        Versions that came of them stay, and so does what the audit log says.

        Raises:
            LookupError: there is no such job.
            ValueError: it is not over.
            StorageError, OSError: it cannot be deleted.
        """
        if name:
            found = [self.job_store.record(name)]
        else:
            found = self.over_before(time.time() - (older or 0.0))
        for record in found:
            if not record.ended:
                raise ValueError(f"job {record.job} is not over; end it first: fogline jobs stop {record.job}")
            await self._forget(record)
        names = ", ".join(one.job for one in found[:SHOWN]) + (" and others" if len(found) > SHOWN else "")
        return f"Forgotten: {names}." if found else "No job has been over for so long."

    def over_before(self, moment: float) -> list[Record]:
        """Jobs that were over at a Unix time; of those of older versions counts when they were submitted."""
        return [one for one in self.job_store.records() if one.ended and (one.ended_at or one.submitted) <= moment]

    async def forget_before(self, moment: float, why: str) -> None:
        """Know nothing more of the jobs that were over at a Unix time; each, with the reason, is in the audit log.

        Raises:
            StorageError, OSError: one cannot be deleted.
        """
        for record in self.over_before(moment):
            await self.node.audit.record("job.forgotten", self.node.name, record.job, why=why)
            await self._forget(record)

    async def _forget(self, record: Record) -> None:
        job, node, bundle = record.job, self.node, record.bundle.digest
        await asyncio.to_thread(self._restores.forgot, record.serial)
        await asyncio.to_thread(shutil.rmtree, self._means.runs / job, ignore_errors=True)
        await asyncio.to_thread(node.log_file(job).unlink, missing_ok=True)
        await asyncio.to_thread(node.job_manager.clear, job)
        await self.job_store.forget(job)
        if all(other.bundle.digest != bundle for other in self.job_store.records()):
            await asyncio.to_thread(node.value_store.discard, bundle)

    def again(self, job: str) -> None:
        """Put a job into the queue once more, as it was."""
        old = self.job_store.get(job)
        if old is not None:
            self._tasks.spawn(self.submit(old.by, old.text, old.bundle, old.priority, old.planned, old.wait, old.nodes))

    # What nodes tell, and want to know.

    def hear(self, told: JobLog) -> None:
        """Something for a job's report."""
        job_run, over = self._job_runs.get(told.job), 0
        if job_run is not None:
            job_run.hear(told)
            over = job_run.over_when(told)
        self.job_store.note(told.job, told.what, told.why[:LONGEST], told.node, told.child, over=over)

    def has_ended(self, job: str) -> bool:
        """Whether a job is over, or never was."""
        record = self.job_store.get(job)
        return record is None or record.ended

    # Inside.

    def _schedule(self) -> None:
        free = self._parallel - len(self.job_store.records("running"))
        queue = sorted(self.job_store.records("queued"), key=lambda record: -record.priority)
        for record in queue[: max(0, free)]:
            self.job_store.mark(msgspec.structs.replace(record, state="running"))
            self._tasks.spawn(self._run(record, fresh=True))

    async def _run(self, record: Record, fresh: bool = False) -> None:
        """A job from its beginning to its end. ``fresh``: it did not run before the cloud was restarted."""
        job = record.job
        self.job_store.note(job, "loading")
        try:
            job_run = await (self._prepared(record) if fresh else prepare(self._means, record))
        except UnapprovedError as error:  # The policy is another one than when it was submitted.
            self.job_store.note(job, "waiting", str(error))
            await self.job_store.put(msgspec.structs.replace(record, state="waiting", why=str(error)))
            self._schedule()
            return
        except UNFIT as error:
            await self._over(msgspec.structs.replace(record, state="failed", why=str(error)))
            return
        if job_run is None:
            record = self.job_store.record(job)
            await self._over(msgspec.structs.replace(record, state="stopped", why=TOO_EARLY))
            return
        self._job_runs[job] = job_run
        if stop := self.job_store.record(job).stop:  # Perhaps meanwhile.
            await job_run.stop(stop)
        await job_run.begin()
        ended = await job_run.follow()
        del self._job_runs[job]
        await self._over(ended, job_run.rounds_over)

    async def _prepared(self, record: Record) -> JobRun | None:
        """A job that is loaded; None if it was stopped before."""
        preparing = self._preparing[record.job] = asyncio.create_task(prepare(self._means, record))
        try:
            await asyncio.wait((preparing,))
        finally:
            del self._preparing[record.job]
            preparing.cancel()
        return None if preparing.cancelled() else preparing.result()

    async def _over(self, record: Record, rounds: int = 0) -> None:
        """A job has ended, after so many rounds, counted or not."""
        self.node.admission.uses.ended(record.job)
        await self.node.audit.record(
            "job.ended", self.node.name, record.job, state=record.state, rounds=record.done, why=record.why[:LONGEST]
        )
        # First: who watches leaves when the job has ended.
        self.job_store.note(record.job, record.state, record.why, over=rounds)
        await self.job_store.put(record)
        self._schedule()

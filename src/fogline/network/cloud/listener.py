"""What the cloud does with what the nodes of its tree tell."""

from __future__ import annotations

from fogline.governance.roles import refusal
from fogline.governance.subject import Subject
from fogline.network.cloud.fleet import FleetMonitor
from fogline.network.cloud.restores import Restores
from fogline.network.cloud.scheduler import JobScheduler
from fogline.network.transport.messages import (
    Blob,
    ClonedIdentity,
    ForkedLog,
    HeldRevocations,
    JobLog,
    NewerTimestamp,
    News,
    NodeSeen,
    Push,
    RoundActivity,
)
from fogline.processes.tasks import Tasks
from fogline.registry.archive import LARGEST


class NewsListener:
    """Brings each piece of news to the part of the cloud whose matter it is.

    Args:
        scheduler: the jobs.
        fleet: the nodes.
        restores: notices a cloud that went back to a backup.
        owner: the cloud's name, for the log.
    """

    def __init__(self, scheduler: JobScheduler, fleet: FleetMonitor, restores: Restores, owner: str) -> None:
        self._scheduler = scheduler
        self._fleet = fleet
        self._restores = restores
        self._tasks = Tasks(owner)

    def close(self) -> None:
        """Stop."""
        self._tasks.cancel()

    def hear(self, news: News) -> None:
        """See :class:`fogline.network.node.context.Cloud`."""
        match news:
            case JobLog():
                self._scheduler.hear(news)
            case NodeSeen():
                self._fleet.seen(news)
            case RoundActivity():
                self._scheduler.job_store.stands(news)
            case HeldRevocations():
                self._fleet.holds(news)
            case ClonedIdentity():
                self._fleet.twins(news)
            case ForkedLog():
                self._fleet.forked(news)
            case NewerTimestamp(timestamp=timestamp):
                self._tasks.spawn(self._restores.shown(timestamp))
            case _:
                raise TypeError(f"The cloud has nobody who hears a {type(news).__name__}.")

    def arrived(self, name: str, since: int) -> None:
        """See :class:`fogline.network.node.context.Cloud`."""
        self._tasks.spawn(self._restores.arrived(name, since))

    def recalled(self) -> None:
        """See :class:`fogline.network.node.context.Cloud`."""
        self._fleet.recalled()
        self._tasks.spawn(self._restores.recalled())

    def wants(self, subject: Subject, push: Push) -> str | None:
        """See :class:`fogline.network.node.context.Cloud`."""
        refused = refusal(subject, "Operator/Submit")
        if refused is not None:
            return refused
        return None if push.size <= LARGEST else "that is more than a bundle or a model may have"

    def bundle(self, digest: str) -> Blob | None:
        """See :class:`fogline.network.node.context.Cloud`."""
        return next((record.bundle for record in self._scheduler.job_store.with_bundle(digest)), None)

    def withheld(self, subject: Subject, digest: str) -> str | None:
        """See :class:`fogline.network.node.context.Cloud`."""
        jobs = self._scheduler.job_store.with_bundle(digest)
        if not all(record.ended for record in jobs) or subject.role == "operator":
            return None
        if subject.role == "developer" and any(record.by == subject.name for record in jobs):
            return None
        own = "its own jobs and of " if subject.role == "developer" else ""
        return f"{subject.name} may fetch the code of {own}jobs that are not over, and no other files"

    def has_ended(self, job: str) -> bool:
        """See :class:`fogline.network.node.context.Cloud`."""
        return self._scheduler.has_ended(job)

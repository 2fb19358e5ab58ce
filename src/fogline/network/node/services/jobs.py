"""Jobs: they are offered downward, children join and leave them, and their state machines talk."""

from __future__ import annotations

from collections.abc import Iterable

from fogline.governance.subject import Subject
from fogline.network.node.context import NodeContext
from fogline.network.node.jobs import JobManager
from fogline.network.node.participation.survey import job_of
from fogline.network.node.services.base import Service, another
from fogline.network.transport.messages import (
    BROKEN,
    UNAPPROVED,
    Blob,
    JobEnded,
    JobLog,
    JoinedJob,
    LeftJob,
    NodeMessage,
    Offer,
    Push,
    UnknownJobs,
    Welcome,
)
from fogline.network.transport.session import Session
from fogline.network.worker.client import LONGEST
from fogline.nodes.messages import Report

FromChild = JoinedJob | LeftJob | NodeMessage | JobLog | UnknownJobs
FromParent = Offer | JobEnded | NodeMessage


class JobService(Service[FromChild, FromParent]):
    """Brings what neighbours say of jobs to the node's part in them."""

    def __init__(self, node: NodeContext) -> None:
        super().__init__(node)
        self.manager = JobManager(node)

    def forbidden(self, child: Subject, frame: FromChild) -> str | None:
        name = child.name
        match frame:
            case JoinedJob(hello=hello) if hello.devices > 1:
                return f"{name} is one device and says that it is {hello.devices}"
            case NodeMessage(message=Report(devices=devices)) if devices > 1:
                return f"{name} is one device and reports for {devices}"
            case NodeMessage(message=Report(marks=marks)) if marks:
                return f"{name} is one device and reports for others"
            case JobLog(what=what) if what == BROKEN:
                return f"{name} is one device and says that the whole job is broken"
            case JobLog(amount=amount) if amount > 1:
                return f"{name} is one device and tells of {amount} things at once"
            case JobLog(node=node, child=other):
                return another(name, node, other or name)
            case _:
                return None

    def from_child(self, session: Session, frame: FromChild) -> None:
        if isinstance(frame, UnknownJobs):
            self._settle(frame.jobs)
            return
        if isinstance(frame, NodeMessage) and frame.carried:
            self.node.carried(0, frame.carried)
        participation = self.manager.participations.get(job_of(frame.job))
        if participation is None:
            return
        match frame:
            case JoinedJob(hello=hello):
                participation.child_entered(session.name, hello)
            case LeftJob(job=job, why=why, unapproved=unapproved):
                participation.child_left(session.name)
                what = UNAPPROVED if unapproved else "away"
                self.node.tell(JobLog(job, self.node.name, what, session.name, why[:LONGEST]))
            case NodeMessage():
                participation.from_child(session.name, frame)
            case JobLog():
                self.node.tell(frame)

    def from_parent(self, parent: str, frame: FromParent) -> None:
        match frame:
            case NodeMessage():
                participation = self.manager.participations.get(job_of(frame.job))
                if participation is not None and participation.parent == parent:
                    participation.from_parent(frame)
            case Offer(announcement=announcement):
                self.manager.offered(announcement, parent)
            case JobEnded(job=job):
                self.manager.ended_above(job)

    def connected(self, parent: str, welcome: Welcome) -> None:
        self.manager.connected(parent)
        for session in self.node.sessions():
            self._settle(session.present.jobs)

    def arrived(self, session: Session) -> None:
        self._settle(session.present.jobs)
        for participation in self.manager.participations.values():
            self.manager.offer(session, participation.announcement)

    def departed(self, session: Session) -> None:
        for participation in self.manager.participations.values():
            participation.child_left(session.name)

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why an update is not wanted; None if it is."""
        participation = self.manager.participations.get(job_of(push.job))
        if participation is None:
            return f"there is no job {push.job} here"
        return None if participation.expects(push.job, subject.name, push.task) else "nobody waits for that update"

    def model(self, digest: str) -> Blob | None:
        """A blob of a job that its children may have."""
        models = (participation.model(digest) for participation in self.manager.participations.values())
        return next((blob for blob in models if blob is not None), None)

    def _settle(self, jobs: Iterable[str]) -> None:
        """Children take part in these jobs: whoever knows that one is over says so."""
        cloud, uplink = self.node.cloud, self.node.uplink
        unknown = [job for job in jobs if not self.manager.knows(job)]
        if cloud is None and unknown and uplink is not None:
            uplink.send(UnknownJobs(tuple(unknown)))
        for job in unknown:
            if cloud is not None and cloud.has_ended(job):
                self.manager.ended_above(job)

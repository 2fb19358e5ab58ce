"""What a child may say: a node acts only for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogline.network.transport.messages import (
    BROKEN,
    ClonedIdentity,
    HeldRevocations,
    JobLog,
    JoinedJob,
    NodeMessage,
    NodeSeen,
    ReleaseOutcome,
    Up,
)
from fogline.nodes.messages import Report

if TYPE_CHECKING:
    from fogline.network.transport.session import Session


def claim(session: Session, frame: Up) -> str | None:
    """What a child says that is not its to say; None if all is."""
    name = session.name
    match frame:
        case _ if session.subject.role == "fog":
            return None
        case JoinedJob(hello=hello) if hello.devices > 1:
            return f"{name} is one device and says that it is {hello.devices}"
        case NodeMessage(message=Report(devices=devices)) if devices > 1:
            return f"{name} is one device and reports for {devices}"
        case JobLog(what=what) if what == BROKEN:
            return f"{name} is one device and says that the whole job is broken"
        case JobLog(node=node, child=child) if {node, child} - {name, ""}:
            return f"{name} told of {node}, which is another node"
        case NodeSeen(name=other) | HeldRevocations(name=other) | ClonedIdentity(name=other):
            return f"{name} told of {other}, which is another node"
        case ReleaseOutcome(outcome=outcome) if outcome.node != name:
            return f"{name} told of {outcome.node}, which is another node"
        case _:
            return None

"""What a child may say: a node acts only for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogline.network.contract import BROKEN, Became, Entered, Holds, Said, Seen, Told, Twins, Up
from fogline.nodes.messages import Report

if TYPE_CHECKING:
    from fogline.network.downlink import Session


def claim(session: Session, frame: Up) -> str | None:
    """What a child says that is not its to say; None if all is."""
    name = session.name
    match frame:
        case _ if session.subject.role == "fog":
            return None
        case Entered(hello=hello) if hello.devices > 1:
            return f"{name} is one device and says that it is {hello.devices}"
        case Said(message=Report(devices=devices)) if devices > 1:
            return f"{name} is one device and reports for {devices}"
        case Told(what=what) if what == BROKEN:
            return f"{name} is one device and says that the whole job is broken"
        case Told(node=node, child=child) if {node, child} - {name, ""}:
            return f"{name} told of {node}, which is another node"
        case Seen(name=other) | Holds(name=other) | Twins(name=other):
            return f"{name} told of {other}, which is another node"
        case Became(outcome=outcome) if outcome.node != name:
            return f"{name} told of {outcome.node}, which is another node"
        case _:
            return None

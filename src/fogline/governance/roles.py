"""What each role may do: one table of all calls. A call that is not in it nobody may make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fogline.governance.subject import Role, Subject


class Call(NamedTuple):
    """A call of the operator's interface, or one between nodes."""

    what: str
    """What it does, as it follows "may"."""
    roles: frozenset[Role]
    own: frozenset[Role] = frozenset()
    """Roles that may make it for what is their own only, such as a job that they submitted."""


OPERATOR: frozenset[Role] = frozenset({"operator"})
DEVELOPER: frozenset[Role] = frozenset({"developer"})
PEOPLE: frozenset[Role] = OPERATOR | DEVELOPER
FOG: frozenset[Role] = frozenset({"fog"})
NODES: frozenset[Role] = frozenset({"fog", "device"})

CALLS: Mapping[str, Call] = {
    # Jobs.
    "Desk/Submit": Call("submit jobs", PEOPLE),
    "Desk/Jobs": Call("list jobs", PEOPLE),
    "Desk/Watch": Call("follow jobs", PEOPLE),
    "Desk/Stop": Call("stop jobs", OPERATOR, DEVELOPER),
    "Desk/Result": Call("fetch a job's result", OPERATOR, DEVELOPER),
    # Nodes.
    "Desk/Nodes": Call("list nodes", PEOPLE),
    "Desk/Notices": Call("read what happened to the cloud", PEOPLE),
    "Desk/Token": Call("make tokens", OPERATOR),
    "Desk/Revoke": Call("revoke nodes", OPERATOR),
    # Models.
    "Desk/Models": Call("list models", PEOPLE),
    "Desk/Export": Call("export versions", PEOPLE),
    "Desk/Import": Call("import versions", OPERATOR),
    "Desk/Steer": Call("promote, roll back and steer versions", OPERATOR),
    "Desk/Link": Call("link models to a cascade", PEOPLE),
    "Desk/Retrain": Call("have jobs run again by themselves", OPERATOR),
    "Desk/Charter": Call("read what is approved", PEOPLE),
    "Desk/Adopt": Call("hand in what is approved", OPERATOR),
    # Between nodes.
    "Node/Control": Call("hang below another node", NODES),
    "Node/Fetch": Call("fetch files", NODES | PEOPLE),
    "Node/Push": Call("bring files", NODES | PEOPLE),
    "Node/Weigh": Call("ask for a file's size", NODES),
    "Node/Read": Call("read signed releases", NODES),
    "Node/Infer": Call("ask for predictions", NODES),
    "Node/Enrol": Call("pass tokens on from a door", FOG),
    "Node/Renew": Call("renew certificates", NODES | PEOPLE),
}


def refusal(subject: Subject, call: str, owner: str | None = None) -> str | None:
    """Why somebody may not make a call; None if it is allowed.

    Args:
        subject: who asks.
        call: a key of :data:`CALLS`.
        owner: whose the thing is that is asked about; None where that does not matter, or is not known yet.

    Raises:
        KeyError: there is no such call.
    """
    entry = CALLS[call]
    if subject.role in entry.roles:
        return None
    if subject.role not in entry.own:
        return f"{subject.name} is a {subject.role}; only {_listed(entry.roles | entry.own)} may {entry.what}"
    if owner is None or owner == subject.name:
        return None
    mine = f"{subject.name} is a {subject.role} and may {entry.what} only of its own"
    return f"{mine}; this is {owner}'s, so ask {_listed(entry.roles, 'an')}"


def _listed(roles: Iterable[Role], before: str = "") -> str:
    if before:
        return " or ".join(f"{before} {role}" for role in sorted(roles))
    return " and ".join(f"{role}s" for role in sorted(roles))

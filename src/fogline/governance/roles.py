"""What each role may do: one table of all calls. A call that is not in it nobody may make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fogline.governance.subject import Role, Subject


class ApiCall(NamedTuple):
    """A call of the operator's interface, or one between nodes."""

    what: str
    """What it does, as it follows "may"."""
    roles: frozenset[Role]
    own: frozenset[Role] = frozenset()
    """Roles that may make it for what is their own only, such as a job that they submitted."""
    audited: str = ""
    """What it is called in the cloud's audit log; empty: it changes nothing, or is recorded by who carries it out."""


OPERATOR: frozenset[Role] = frozenset({"operator"})
DEVELOPER: frozenset[Role] = frozenset({"developer"})
AUDITOR: frozenset[Role] = frozenset({"auditor"})
PEOPLE: frozenset[Role] = OPERATOR | DEVELOPER
READERS: frozenset[Role] = PEOPLE | AUDITOR
"""Who may look, and change nothing by it."""
FOG: frozenset[Role] = frozenset({"fog"})
NODES: frozenset[Role] = frozenset({"fog", "device"})

CALLS: Mapping[str, ApiCall] = {
    # Jobs.
    "Operator/Submit": ApiCall("submit jobs", PEOPLE, audited="job.submitted"),
    "Operator/Jobs": ApiCall("list jobs", READERS),
    "Operator/Watch": ApiCall("follow jobs", READERS),
    "Operator/Stop": ApiCall("stop jobs", OPERATOR, DEVELOPER, audited="job.stopped"),
    "Operator/Result": ApiCall("fetch a job's result", OPERATOR, DEVELOPER),
    "Operator/AuditLog": ApiCall("fetch the cloud's audit log", OPERATOR | AUDITOR),
    "Operator/ForgetJobs": ApiCall("forget jobs", OPERATOR, audited="job.forgotten"),
    # Nodes.
    "Operator/Nodes": ApiCall("list nodes", READERS),
    "Operator/Follow": ApiCall("follow jobs and nodes", READERS),
    "Operator/Notices": ApiCall("read what happened to the cloud", READERS),
    "Operator/Token": ApiCall("make tokens", OPERATOR, audited="token.made"),
    "Operator/Revoke": ApiCall("revoke nodes", OPERATOR, audited="node.revoked"),
    "Operator/ForgetNode": ApiCall("forget nodes that are revoked", OPERATOR, audited="node.forgotten"),
    "Operator/Move": ApiCall("tell nodes of the cloud's next address", OPERATOR, audited="cloud.moves"),
    # Models.
    "Operator/Models": ApiCall("list models", READERS),
    "Operator/Export": ApiCall("export versions", PEOPLE),
    "Operator/Import": ApiCall("import versions", OPERATOR, audited="model.imported"),
    "Operator/Steer": ApiCall("promote, roll back and steer versions", OPERATOR, audited="model.steered"),
    "Operator/Link": ApiCall("link models to a cascade", PEOPLE, audited="model.linked"),
    "Operator/Retrain": ApiCall("have jobs run again by themselves", OPERATOR, audited="model.retrain_rule"),
    "Operator/OfflineMetadata": ApiCall("read what is approved", READERS),
    "Operator/Adopt": ApiCall("hand in what is approved", OPERATOR, audited="releases.approved"),
    "Operator/NewReleaseKeys": ApiCall(
        "have the cloud make new keys for releases", OPERATOR, audited="releases.new_keys"
    ),
    # Between nodes.
    "Node/Control": ApiCall("hang below another node", NODES),
    "Node/Fetch": ApiCall("fetch files", NODES | PEOPLE),
    "Node/Push": ApiCall("bring files", NODES | PEOPLE),
    "Node/Weigh": ApiCall("ask for a file's size", NODES),
    "Node/Read": ApiCall("read signed releases", NODES),
    "Node/Infer": ApiCall("ask for predictions", NODES),
    "Node/Enrol": ApiCall("pass tokens on from an enrolment endpoint", FOG),
    "Node/Renew": ApiCall("renew certificates", NODES | READERS),
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
        return f"{subject.name} is {_one(subject.role)}; only {_listed(entry.roles | entry.own)} may {entry.what}"
    if owner is None or owner == subject.name:
        return None
    mine = f"{subject.name} is {_one(subject.role)} and may {entry.what} only of its own"
    return f"{mine}; this is {owner}'s, so ask {_listed(entry.roles, 'an')}"


def _one(role: Role) -> str:
    return f"an {role}" if role[0] in "ao" else f"a {role}"


def _listed(roles: Iterable[Role], before: str = "") -> str:
    if before:
        return " or ".join(f"{before} {role}" for role in sorted(roles))
    return " and ".join(f"{role}s" for role in sorted(roles))

"""What each role may do: one table of all calls, from which the check of a call, the command line and the documents
take it. A call that is not in it nobody may make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from fogline.governance.subject import Role, Subject, fits

Reach = Literal["fleet", "own", "nodes", "none"]
"""What a call is about, which decides what it is to somebody whose role is limited to some nodes: the whole fleet (it
is refused), a thing that somebody owns (only what is his own), nodes (only those; the call itself heeds that), or
nothing of any node's (it is as free as to others)."""


class ApiCall(NamedTuple):
    """A call of the operator's interface, or one between nodes."""

    what: str
    """What it does, as it follows "may"."""
    roles: frozenset[Role]
    own: frozenset[Role] = frozenset()
    """Roles that may make it for what is their own only, such as a job that they submitted."""
    audited: str = ""
    """What it is called in the cloud's audit log; empty: it changes nothing, or is recorded by who carries it out."""
    reach: Reach = "fleet"
    command: str = ""
    """The command that makes it, as it follows ``fogline``; empty: it is made on the way by others."""


OPERATOR: frozenset[Role] = frozenset({"operator"})
DEVELOPER: frozenset[Role] = frozenset({"developer"})
OWNER: frozenset[Role] = frozenset({"owner"})
AUDITOR: frozenset[Role] = frozenset({"auditor"})
SUBMITTERS: frozenset[Role] = OPERATOR | DEVELOPER
READERS: frozenset[Role] = SUBMITTERS | OWNER | AUDITOR
"""Who may look, and change nothing by it."""
FOG: frozenset[Role] = frozenset({"fog"})
NODES: frozenset[Role] = frozenset({"fog", "device"})

CALLS: Mapping[str, ApiCall] = {
    # Jobs.
    "Operator/Submit": ApiCall(
        "submit jobs", SUBMITTERS, audited="job.submitted", reach="nodes", command="jobs submit"
    ),
    "Operator/Jobs": ApiCall("list jobs", READERS, reach="none", command="jobs list"),
    "Operator/Watch": ApiCall("follow jobs", READERS, reach="nodes", command="jobs logs"),
    "Operator/Stop": ApiCall("stop jobs", OPERATOR, DEVELOPER, audited="job.stopped", reach="own", command="jobs stop"),
    "Operator/Result": ApiCall("fetch a job's result", OPERATOR, DEVELOPER, reach="own", command="jobs result"),
    "Operator/AuditLog": ApiCall("fetch the cloud's audit log", OPERATOR | AUDITOR, command="audit export"),
    "Operator/ForgetJobs": ApiCall("forget jobs", OPERATOR, audited="job.forgotten", command="jobs forget"),
    # Approvals and policies.
    "Operator/Approvals": ApiCall("list jobs that wait for approval", READERS, reach="none", command="approvals list"),
    "Operator/Approval": ApiCall("read what a job wants", READERS, reach="none", command="approvals show"),
    "Operator/Decide": ApiCall("approve and refuse jobs", OWNER, reach="nodes", command="approvals approve"),
    "Operator/PublishPolicy": ApiCall(
        "give the fleet a policy", OPERATOR, audited="policy.published", command="policy publish"
    ),
    "Operator/Policies": ApiCall(
        "read the fleet's and the cloud's policy", READERS, reach="none", command="policy show"
    ),
    "Operator/Ledgers": ApiCall("read what data have given away", READERS, reach="nodes", command="privacy ledgers"),
    # Nodes.
    "Operator/Nodes": ApiCall("list nodes", READERS, reach="nodes", command="nodes list"),
    "Operator/Follow": ApiCall("follow jobs and nodes", READERS, reach="nodes"),
    "Operator/Notices": ApiCall("read what happened to the cloud", READERS, reach="none"),
    "Operator/Token": ApiCall("make tokens", OPERATOR, audited="token.made", reach="nodes", command="token create"),
    "Operator/Revoke": ApiCall("revoke nodes", OPERATOR, audited="node.revoked", reach="nodes", command="nodes revoke"),
    "Operator/ForgetNode": ApiCall(
        "forget nodes that are revoked", OPERATOR, audited="node.forgotten", reach="nodes", command="nodes forget"
    ),
    "Operator/Move": ApiCall(
        "tell nodes of the cloud's next address", OPERATOR, audited="cloud.moves", command="cloud move"
    ),
    # Models.
    "Operator/Models": ApiCall("list models", READERS, reach="none", command="models list"),
    "Operator/Export": ApiCall("export versions", SUBMITTERS, reach="none", command="models export"),
    "Operator/Import": ApiCall("import versions", OPERATOR, audited="model.imported", command="models import"),
    "Operator/Steer": ApiCall(
        "promote, roll back and steer versions", OPERATOR, audited="model.steered", command="models rollback"
    ),
    "Operator/Link": ApiCall("link models to a cascade", SUBMITTERS, audited="model.linked", command="models link"),
    "Operator/Retrain": ApiCall(
        "have jobs run again by themselves", OPERATOR, audited="model.retrain_rule", command="models retrain"
    ),
    "Operator/OfflineMetadata": ApiCall("read what is approved", READERS, reach="none", command="models keys list"),
    "Operator/Adopt": ApiCall("hand in what is approved", OPERATOR, audited="releases.approved"),
    "Operator/NewReleaseKeys": ApiCall(
        "have the cloud make new keys for releases", OPERATOR, audited="releases.new_keys"
    ),
    # Between nodes.
    "Node/Control": ApiCall("hang below another node", NODES, reach="none"),
    "Node/Fetch": ApiCall("fetch files", NODES | READERS, reach="none"),
    "Node/Push": ApiCall("bring files", NODES | SUBMITTERS, reach="none"),
    "Node/Weigh": ApiCall("ask for a file's size", NODES, reach="none"),
    "Node/Read": ApiCall("read signed releases", NODES, reach="none"),
    "Node/Infer": ApiCall("ask for predictions", NODES, reach="none"),
    "Node/Enrol": ApiCall("pass tokens on from an enrolment endpoint", FOG, reach="none"),
    "Node/Renew": ApiCall("renew certificates", NODES | READERS, reach="none"),
}


def refusal(subject: Subject, call: str, owner: str | None = None, node: str | None = None) -> str | None:
    """Why somebody may not make a call; None if it is allowed.

    Args:
        subject: who asks.
        call: a key of :data:`CALLS`.
        owner: whose the thing is that is asked about; None where that does not matter, or is not known yet.
        node: the node that it is about, or a pattern of some; None where that does not matter, or is not known yet.

    Raises:
        KeyError: there is no such call.
    """
    entry = CALLS[call]
    if subject.role not in entry.roles | entry.own:
        return f"{subject.name} is {_one(subject.role)}; only {_listed(entry.roles | entry.own)} may {entry.what}"
    mine = owner is None or owner == subject.name
    if subject.role not in entry.roles and not mine:
        own = f"{subject.name} is {_one(subject.role)} and may {entry.what} only of its own"
        return f"{own}; this is {owner}'s, so ask {_listed(entry.roles, 'an')}"
    if not subject.nodes or entry.reach == "none":
        return None
    limited = f"the role of {subject.name} is limited to the nodes {', '.join(subject.nodes)}, so it may not"
    if entry.reach == "fleet":
        return f"{limited} {entry.what}, which is of the whole fleet"
    if entry.reach == "own" and not mine:
        return f"{limited} {entry.what} of {owner}"
    if entry.reach == "nodes" and node is not None and not fits(node, subject.nodes):
        return f"{limited} {entry.what} beyond these, and this concerns {node}"
    return None


def called(role: Role) -> str:
    """A role, for people."""
    return "data owner" if role == "owner" else role


def _one(role: Role) -> str:
    name = called(role)
    return f"an {name}" if name[0] in "ao" else f"a {name}"


def _listed(roles: Iterable[Role], before: str = "") -> str:
    names = sorted(map(called, roles))
    if before:
        return " or ".join(f"{before} {name}" for name in names)
    return " and ".join(f"{name}s" for name in names)

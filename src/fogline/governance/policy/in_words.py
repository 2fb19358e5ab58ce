"""What a policy says, in words for people."""

from __future__ import annotations

from datetime import datetime

from fogline.governance.policy.policy import not_in_force
from fogline.governance.policy.terms import Allowed, Policy


def in_words(read: Policy, now: datetime) -> list[str]:
    """What a policy says, a line for each thing."""
    said = [not_in_force(read, now) or f"{read.path} holds now."]
    said += [_of_signer(entry) for entry in read.allowed] or ["It lists no signer, so nothing may run."]
    if read.owners.signers:
        needed = "all" if read.owners.needed is None else str(read.owners.needed)
        said.append(f"Owners: {', '.join(owner.text for owner in read.owners.signers)}; {needed} must approve.")
    if read.secure_aggregation or read.privacy is not None or read.minimum > 1:
        budget = "" if read.privacy is None else f"ε = {read.privacy.epsilon:g} for each {read.privacy.unit}"
        wanted = [*read.secure_aggregation, *([budget] if budget else [])]
        how = (" or " if read.either else " and ").join(wanted) or "nothing"
        said.append(f"Privacy: {how}; at least {read.minimum} devices in what is handed on.")
    for what, days in (("Jobs that are over", read.retention.jobs), ("Logs of jobs", read.retention.logs)):
        if days is not None:
            said.append(f"{what} are deleted after {days} days.")
    for table in read.tables:
        seen = [f"{rule.column} ({rule.how})" for rule in table.columns if rule.how != "drop"]
        said.append(f"Table {table.name} ({table.file}): tasks see {', '.join(seen)}.")
    return said


def _of_signer(entry: Allowed) -> str:
    words = [f"{entry.signer.name} (key {entry.signer.fingerprint}): tasks {', '.join(entry.tasks)}"]
    words += [f"methods {', '.join(entry.algorithms)}"] if entry.algorithms != ("*",) else []
    words += [f"{len(entry.code)} versions of code"] if entry.code else []
    words += ["with the owners' approval"] if entry.approval else []
    words += [f"{entry.uses} jobs"] if entry.uses is not None else []
    return "; ".join(words) + "."

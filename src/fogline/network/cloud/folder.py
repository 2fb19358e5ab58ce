"""What lies in a cloud's folder, and in that of its operator."""

from __future__ import annotations

import msgspec

AUTHORITY = "authority"
"""Who is a member is decided with what lies here."""
OPERATOR = "operator"
"""The operator's own folder, which can be moved to another machine."""
SIGNING = "developer.key"
"""In the operator's folder: what they sign jobs with."""
OWNER_KEY = "owner.key"
"""In the folder of an owner of data: what approvals and policies are signed with."""
FACTS = "operator.json"
"""In the operator's folder: which cloud it is for."""
RELEASE_KEYS = "release-keys"
"""In the operator's folder: the offline keys of releases, to be moved away from the cloud. The folder of that name in
the cloud's own holds the online ones."""


OPERATOR_FORMAT = 1
"""Format of what an operator's folder says: it changes when that means something else."""


class OperatorFacts(msgspec.Struct, frozen=True):
    """What an operator's folder says beside its identity."""

    name: str
    address: str
    enrolment: str = ""
    """``host:port`` at which new nodes join."""
    operator: str = "operator"
    """Who the operator is."""
    format: int = OPERATOR_FORMAT


def trusting(name: str, key: str) -> str:
    """A policy that lets one developer's jobs run."""
    return f'# Whose jobs may run here.\n[[signer]]\nname = "{name}"\nkey = "{key}"\n'

"""What the page may ask of a cloud's board, by name: which call of the cloud's each makes, and what is sent along."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from fogline.dashboard.board import Answer
from fogline.governance.approvals.approval import Verdict
from fogline.governance.roles import refusal
from fogline.governance.subject import Role, Subject
from fogline.network.cloud.records import Stop

CALLS: Mapping[str, str] = {
    "stop": "Stop",
    "clone": "Submit",
    "resume": "Submit",
    "steer": "Steer",
    "approval": "Approval",
    "decide": "Decide",
    "policies": "Policies",
    "budgets": "Ledgers",
    "revoke": "Revoke",
    "token": "Token",
    "audit": "AuditLog",
}
"""By what the page says, the call of the operator's interface that is made for it: who may not make that has no button,
and no answer."""
SIGNED = ("clone", "resume", "decide")
"""What is signed with the person's own key before it goes to the cloud."""
Asked = TypeVar("Asked", bound=msgspec.Struct)


class JobName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request about a job."""

    job: str


class StopAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to end a job."""

    job: str
    how: Stop = "keep"


class Again(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for a job once more."""

    job: str
    changes: tuple[str, ...] = ()
    """Keys of the job that are other now, as ``rounds=20``."""


class Decided(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An owner's word on a job."""

    job: str
    bundle: str
    """SHA-256, in hexadecimal, of the bundle that the person was shown: the word is on that and on no other."""
    verdict: Verdict
    reason: str = ""


class NodeName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request about a node."""

    name: str


class Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for a token."""

    role: Role
    uses: int = 1


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request that needs nothing more to be said."""


def may(person: Subject, call: str) -> bool:
    """Whether somebody may make a call of the cloud's at all, if only for what is his own."""
    return refusal(person, f"Operator/{call}", person.name) is None


def asking(kind: type[Asked], answer: Callable[[Asked], Awaitable[Any]]) -> Answer:
    """Reads the request, and answers it."""
    decode = msgspec.json.Decoder(kind).decode

    async def answered(body: bytes) -> Any:
        return await answer(decode(body))

    return answered

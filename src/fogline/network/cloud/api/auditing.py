"""What the cloud's audit log says of the calls of people: which, by whom, about what. Never a secret, nor code."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from fogline.governance.audit_log.records import Fact
from fogline.network.cloud.records import Record
from fogline.network.transport.messages import Blob

LONGEST = 200
"""Characters of a text that is recorded as it is; of longer ones, of several lines and of bytes, the hash is."""


def about(asked: Any, answer: Any) -> str:
    """What a call was about: a job, a node or a model; empty where it was about the cloud itself."""
    if isinstance(answer, Record):
        return answer.job
    named = getattr(asked, "name", "") or getattr(asked, "model", "") or getattr(asked, "names", "")
    return str(named or "")


def facts_of(asked: msgspec.Struct) -> dict[str, Fact]:
    """What was asked for, in words and numbers."""
    found: dict[str, Fact] = {}
    for name in asked.__struct_fields__:
        fact = _fact(getattr(asked, name))
        if fact is not None:
            found[name] = fact
    return found


def _fact(value: object) -> Fact | None:
    if isinstance(value, Blob):
        return value.digest
    if isinstance(value, bytes) or (isinstance(value, str) and (len(value) > LONGEST or "\n" in value)):
        data = value if isinstance(value, bytes) else value.encode()
        return "sha256:" + hashlib.sha256(data).hexdigest()
    return value if isinstance(value, str | int | float) else None

"""Names and sizes of the files that a repository of releases is made of."""

from __future__ import annotations

import re
from typing import Final, Literal

OnlineRole = Literal["timestamp", "snapshot", "rounds"]
OfflineRole = Literal["root", "targets"]
MetadataRole = OnlineRole | OfflineRole
ONLINE: Final[tuple[OnlineRole, ...]] = ("timestamp", "snapshot", "rounds")
OFFLINE: Final[tuple[OfflineRole, ...]] = ("root", "targets")

TIMESTAMP = "timestamp.json"
"""The only file that changes under its name."""
LARGEST_TIMESTAMP = 16 << 10
LARGEST_METADATA = 512 << 10
"""Bytes of a root, a snapshot or a list of targets."""
LARGEST_FILE = 256 << 10
"""Bytes of a release or a list of approvals."""

RELEASES = "rounds/"
"""Targets of the role ``rounds``: the newest release of a model,"""
APPROVALS = "stable/"
"""and of the role ``targets``: the cards of a model that people approved."""

_NAME = re.compile(r"timestamp\.json|[1-9][0-9]{0,9}\.(?:root|snapshot|targets|rounds)\.json|[0-9a-f]{64}\.json")


def is_file_name(text: str) -> bool:
    """Whether the text names a file of a repository, and so is safe as a key and as a file's name."""
    return _NAME.fullmatch(text) is not None


def metadata_name(role: str, version: int) -> str:
    """The name of a role's metadata."""
    return f"{version}.{role}.json"


def content_name(digest: str) -> str:
    """The name of a release or of a list of approvals, by its sha256."""
    return f"{digest}.json"

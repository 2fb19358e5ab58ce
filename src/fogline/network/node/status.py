"""What a node tells people who watch it: whether it is connected, loads, trains, refuses, serves; and the bytes below
it."""

from __future__ import annotations

from typing import Literal

import msgspec

What = Literal[
    "ready", "connected", "lost", "refused", "loading", "training", "idle", "bytes", "failed", "listens", "serves"
]


class StatusChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that changed at a node."""

    what: What
    who: str = ""
    """The parent, the job, the address of predictions, or the model."""
    why: str = ""
    version: int = 0
    """Of the model that it serves now."""
    down: int = 0
    """Bytes of blobs that went to children."""
    up: int = 0
    """Bytes of blobs that came from them."""


CHANGE = msgspec.json.Decoder(StatusChange)

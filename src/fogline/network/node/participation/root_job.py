"""What a node has to know of a job at the root of its tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fogline.network.node.participation.driver import OnMove
from fogline.storage import BlobRef


@dataclass(frozen=True)
class RootJob:
    """What a job is at the root of the tree besides."""

    first: dict[str, BlobRef]
    """Values that it begins with."""
    moved: OnMove
    """Told of every model."""
    ended: Callable[[str | None, BlobRef | None], None]
    """Told when it is over: why it failed, if it did, and the model that it has come to, if it has moved."""

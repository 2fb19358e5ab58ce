"""Counts what a node tells of itself, for its metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fogline.network.node.status import StatusChange


@dataclass
class Watch:
    """Is told of changes in place of whoever else is told, and tells on.

    Args:
        tell: who else is told.
    """

    tell: Callable[[StatusChange], None]
    lost: int = 0
    """Connections to a parent that broke."""
    refused: int = 0
    """Jobs that did not come in."""
    trainings: int = 0
    """Trainings and judgements that were begun."""
    training: bool = False
    """Whether one is under way."""
    down: int = 0
    """Bytes of blobs that went to children,"""
    up: int = 0
    """and that came from them."""

    def __call__(self, change: StatusChange) -> None:
        """Count a change, and tell it on."""
        match change.what:
            case "lost":
                self.lost += 1
            case "refused":
                self.refused += 1
            case "training":
                self.trainings += 1
                self.training = True
            case "idle":
                self.training = False
            case "bytes":
                self.down += change.down
                self.up += change.up
            case _:
                pass
        self.tell(change)

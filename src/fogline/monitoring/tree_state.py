"""The tree of a run as people see it: who is there, and how each node stands.

Two files of a run's folder: ``nodes.json`` (:class:`TreeNodes`) says once who is in the tree, ``tree.json``
(:class:`TreeSnapshot`) is written over and over and says how they stand.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import msgspec

from fogline.storage.atomic import write_file

State = Literal["t", "w", "l", "o", "r", "f"]
"""How a device stands, one letter each, so that a snapshot of ten thousand is ten kilobytes: ``t`` trains, ``w`` waits,
``l`` was late, ``o`` is offline, ``r`` was refused, ``f`` failed. The last four are what is known of it last: they hold
until it trains again."""
TRAINING, WAITING = "t", "w"
STATE_OF: dict[str, State] = {
    "surplus": "w",
    "late": "l",
    "stale": "l",
    "left": "o",
    "dropped out": "o",
    "went away": "o",
    "refused": "r",
    "quarantined": "r",
    "failed": "f",
}
"""What a mishap (:class:`~fogline.monitoring.mishaps.Mishaps`) makes of the device that it befell."""
SECONDS = 1.0
"""Of the wall clock between two snapshots at least."""


class TreeNode(msgspec.Struct, frozen=True):
    """An aggregator, and its place."""

    name: str
    parent: str
    """Empty: it is the root."""
    tier: str


class TreeNodes(msgspec.Struct, frozen=True):
    """Who is in the tree."""

    aggregators: tuple[TreeNode, ...]
    """A parent before its children."""
    devices: tuple[str, ...]
    homes: tuple[int, ...]
    """Number of each device's aggregator."""


class RoundState(msgspec.Struct, frozen=True):
    """The round of an aggregator."""

    open: bool = False
    waits: int = 0
    """Children that were asked and have not answered."""
    names: tuple[str, ...] = ()
    """The first of them."""
    here: int = 0
    """Answers that wait to be added up."""
    need: int = 0
    """Answers at which the round ends; at its deadline ``quorum`` of them are enough."""
    quorum: int = 0
    sent: int = 0
    """Bytes that went to its children so far, where they are counted for each node,"""
    received: int = 0
    """and that came from them."""
    away: str = ""
    """Why the aggregator is not connected; empty: it is."""


class TreeSnapshot(msgspec.Struct, frozen=True):
    """How the nodes of a tree stand."""

    round: int = 0
    """Of the root, from 1."""
    rounds: tuple[RoundState, ...] = ()
    """In the order of the aggregators."""
    states: str = ""
    """A letter (:data:`State`) for each device, in their order."""
    down: dict[str, int] = {}
    """Bytes so far on the links below each tier, where they are counted for a tier,"""
    up: dict[str, int] = {}
    """and up on them."""
    seconds: float = 0.0
    """The run's clock."""


class SnapshotWriter:
    """Writes snapshots, as often as is of use.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() >= self._due

    def write(self, snapshot: TreeSnapshot) -> None:
        """Replace the one before. A disk that is full or a folder that is gone does not end a run for a picture of it:
        what the run needs to keep says so itself."""
        self._due = time.monotonic() + SECONDS
        try:
            write_file(self._path, msgspec.json.encode(snapshot), durable=False)
        except OSError:
            return


def write_nodes(path: Path, nodes: TreeNodes) -> None:
    """Write who is in the tree."""
    write_file(path, msgspec.json.encode(nodes), durable=False)

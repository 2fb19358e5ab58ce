"""What the cloud knows of a job, of a node, and of what happened, as it keeps and tells it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from fogline.governance.approvals.approval import Verdict
from fogline.governance.policy.offers import Offers
from fogline.governance.policy.terms import Channel
from fogline.monitoring.human import human_metric, human_seconds
from fogline.network.transport.messages import NOTHING, Blob

JobState = Literal["waiting", "queued", "running", "finished", "failed", "stopped"]
"""``waiting``: for the approval of owners, by the cloud's own policy."""
Stop = Literal["", "keep", "publish", "discard"]
"""What the operator who ends a job wants of what it has learned so far; empty: nobody has ended it."""
ENDED = ("finished", "failed", "stopped")


class Record(msgspec.Struct, frozen=True):
    """What the cloud keeps of a job."""

    job: str
    name: str
    state: JobState
    priority: int
    serial: int
    by: str
    text: str
    bundle: Blob
    submitted: float
    planned: bool = False
    """Whether the first round waits for the clients that the task's data names."""
    wait: float = 60.0
    rounds: int = 0
    done: int = 0
    lost: int = 0
    """Rounds that came to nothing, of a job that is over."""
    why: str = ""
    stop: Stop = ""
    headline: str = ""
    higher_is_better: bool = True
    units: dict[str, str] = {}
    nodes: tuple[str, ...] = ()
    """Patterns of the nodes that it is for, where who submitted it may use no others; none at all: all."""
    approvals: tuple[bytes, ...] = ()
    """What owners said to it, as they signed it."""
    ended_at: float = 0.0
    """Unix time of its end; 0: it is not over, or ended under a version that did not write this down."""

    @property
    def ended(self) -> bool:
        """Whether the job is over, well or not."""
        return self.state in ENDED


class Word(msgspec.Struct, frozen=True):
    """What an owner said to a job."""

    owner: str
    verdict: Verdict
    reason: str
    at: float
    """Unix time, by the owner's clock."""
    nodes: tuple[str, ...] = ()
    """Patterns of the nodes that it was said for; none at all: for all."""


class ApprovalReport(msgspec.Struct, frozen=True):
    """How a job stands with owners, and what it wants."""

    job: str
    name: str
    state: JobState
    by: str
    submitted: float
    bundle: Blob
    why: str
    """What it waits for, by the cloud's policy; empty: for nothing."""
    missing: tuple[str, ...] = ()
    """Owners who have not spoken yet, by the cloud's policy."""
    unapproved: tuple[str, ...] = ()
    """Nodes that told that they wait for their own owners."""
    said: tuple[Word, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    """What it does, in words, by the subject of each; empty in a list of several."""


class JobProgress(NamedTuple):
    """How a job that runs fares."""

    record: Record
    history: Sequence[Mapping[str, float]]
    """Its rounds."""
    moved: float
    """Unix time at which its last round ended; before the first, at which it began."""
    mishaps: Mapping[str, int]
    """What went wrong, by kind."""
    limit: float | None
    """ε that it may give away; None: no limit is set."""


GOOD = ("loading", "began", "budget", "privacy", "round", "published", "finished", "stopped")
"""Lines of a job's log that tell of nothing wrong."""
MILESTONES = (
    "loading",
    "waiting",
    "began",
    "round",
    "failed",
    "not judged",
    "not answered",
    "not measured",
    "not kept",
    "published",
    "not published",
    "fewer devices",
    "budget",
    "privacy",
)
"""Lines of a log that count nothing."""


class NodeInfo(msgspec.Struct, frozen=True):
    """What the cloud knows of a node."""

    name: str
    role: str
    parent: str
    up: bool
    since: float
    offers: Offers = NOTHING
    why: str = ""
    serves: Channel | None = None
    """Which releases it serves; None: it answers no predictions."""
    address: str = ""
    """Where it dials from."""
    instance: str = ""
    """Which program, of several that may have had its identity."""
    holds: str = ""
    """Digest of the lists of revoked nodes that it has."""
    warning: str = ""
    """What an operator must know of it."""


class LogLine(msgspec.Struct, frozen=True):
    """A line of a job's log."""

    at: float
    node: str
    what: str
    child: str = ""
    why: str = ""
    row: dict[str, float] | None = None
    round: int = 0
    """Of the job, counted from 1, while it was told; 0: before the first."""

    @property
    def level(self) -> int:
        """How much it matters, as in logs."""
        if self.what == "failed" and not self.child:
            return logging.ERROR  # The job has.
        return logging.INFO if self.what in GOOD else logging.WARNING

    @property
    def text(self) -> str:
        """What a node told, for people."""
        child = f" {self.child}" if self.child not in ("", self.node) else ""
        return f"{self.node}: {self.what}{child}" + (f": {self.why}" if self.why else "")

    def text_of(self, record: Record) -> str:
        """The text with what the job's record knows: of a round its number, its devices and the metric."""
        if self.row is None:
            return self.text
        row, name = self.row, record.headline
        metric = f", {name} {human_metric(name, row[name], record.units.get(name, ''))}" if name in row else ""
        devices = f", {int(row['devices'])} devices" if "devices" in row else ""
        clock = human_seconds(row.get("seconds", 0.0))
        return f"{self.node}: round {int(row['round'])} of {record.rounds}{devices}{metric}, clock {clock}"

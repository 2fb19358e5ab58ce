"""What people ask of the cloud, as it goes over the wire; the client and the server both know these."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.governance.subject import Role
from fogline.inference.card import ModelName
from fogline.network.cloud.records import LogLine, NodeInfo, Record, Stop
from fogline.network.transport.messages import Blob, RoundActivity


class Submit(msgspec.Struct, frozen=True):
    """Put a job into the queue."""

    text: str
    bundle: Blob
    priority: int = 0
    planned: bool = False
    wait: float = 60.0


class Name(msgspec.Struct, frozen=True):
    """A job or a node, and the line of its log to go on after."""

    name: str = ""
    after: int = 0
    follow: bool = True
    """Whether to go on until the job is over."""


class OwnerDecision(msgspec.Struct, frozen=True):
    """An owner's word on a job."""

    name: str
    """The job."""
    envelope: bytes
    """What the owner signed: see :mod:`fogline.governance.approvals.approval`."""


class NewFleetPolicy(msgspec.Struct, frozen=True):
    """A policy for the whole fleet, as an operator signed it."""

    data: bytes


class SetPolicies(msgspec.Struct, frozen=True):
    """The policies that hold at the cloud."""

    fleet: bytes
    """The fleet's, as an operator signed it; empty where there is none."""
    cloud: str
    """The cloud's own (TOML); empty where there is none, so that nothing runs."""


class LedgerPage(msgspec.Struct, frozen=True):
    """A part of what the cloud keeps of nodes' ledgers of privacy."""

    ends: tuple[tuple[str, bytes], ...] = ()
    """Node, and the newest end of its ledger as the node signed it: see :mod:`fogline.privacy.accounting.heads`."""


class Stopping(msgspec.Struct, frozen=True):
    """A request to end a job."""

    name: str
    how: Stop = "keep"
    """What becomes of what it has learned."""


class Forgetting(msgspec.Struct, frozen=True):
    """Jobs that are over are to be forgotten: one by name, or all that have been over for so long."""

    name: str = ""
    older: Annotated[float, Meta(ge=0)] | None = None
    """Seconds."""


class Moving(msgspec.Struct, frozen=True):
    """The cloud is to be reached elsewhere soon."""

    address: Annotated[str, Meta(max_length=200)]


class Text(msgspec.Struct, frozen=True):
    """An answer in one sentence."""

    text: str


class AuditPage(msgspec.Struct, frozen=True):
    """A part of an audit log: the signed head comes first, the records follow in order."""

    head: bytes = b""
    lines: tuple[bytes, ...] = ()


class NumberedLine(msgspec.Struct, frozen=True):
    """A line of a job's log and its number."""

    number: int
    line: LogLine


class FleetNews(msgspec.Struct, frozen=True):
    """What the cloud knows of jobs and nodes: at first all, in several messages, then what has changed."""

    jobs: tuple[Record, ...] = ()
    nodes: tuple[NodeInfo, ...] = ()
    activity: tuple[RoundActivity, ...] = ()
    ended: tuple[tuple[str, str], ...] = ()
    """Node and job of activity that is over,"""
    forgotten_jobs: tuple[str, ...] = ()
    """jobs of which nothing is known any more,"""
    forgotten_nodes: tuple[str, ...] = ()
    """and nodes."""
    models: int = 0
    """Another number than before: something has become of a model."""
    approvals: int = 0
    """The same of who waits for owners."""


class Which(msgspec.Struct, frozen=True):
    """A model, and a version of it."""

    model: ModelName
    version: int = 0
    """0: the newest."""


class AnyModel(msgspec.Struct, frozen=True):
    """A request about one model, or about all where the name is empty."""

    model: str = ""


class OfflineMetadataMessage(msgspec.Struct, frozen=True):
    """All that the operator's offline keys have signed."""

    data: bytes


class NewReleaseKeys(msgspec.Struct, frozen=True):
    """The cloud is to make itself new keys for releases, which count once the operator has signed them."""


class Linked(msgspec.Struct, frozen=True):
    """A small model that is to ask a larger one where it is not sure."""

    model: ModelName
    to: ModelName
    accuracy: Annotated[float, Meta(ge=0, le=1)] | None = None
    """The least that the pair must reach,"""
    budget: Annotated[float, Meta(ge=0, le=1)] | None = None
    """or the most that may be sent up."""


class SetRetrainRule(msgspec.Struct, frozen=True):
    """When inputs have moved so far, the job that made the version runs again."""

    model: ModelName
    psi: Annotated[float, Meta(gt=0)] | None
    """None: never."""
    cooldown: float = 86400.0
    """Seconds between two such runs at least."""


class NewToken(msgspec.Struct, frozen=True):
    """A request for a token with which a node may enrol."""

    role: Role
    site: str = "main"
    uses: int = 1
    ttl: float = 3600.0
    names: str | None = None
    nodes: tuple[str, ...] = ()
    """Patterns of the nodes to which the role is limited, of a person."""

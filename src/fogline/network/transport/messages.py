"""The contract of the network: methods, frames, limits.

Every message is a MessagePack map (a :class:`msgspec.Struct`), carried by gRPC over mutual TLS. What comes from
outside is decoded against these types and nothing else; unknown fields are ignored, so that a newer node can talk to
an older one, and :data:`PROTOCOL` changes when that is not enough. Which frames a node takes, who may say such a thing
and what comes of it stands with its services (:mod:`fogline.network.node.services`).

A child dials its parent and keeps one ``Control`` stream for as long as it lives. Values (models, updates, bundles)
go beside it, named by their digest, through ``Fetch`` and ``Push``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.governance.identity.statements import LARGEST as LARGEST_STATEMENT
from fogline.governance.policy.offers import Needs, Offers
from fogline.governance.policy.terms import Channel
from fogline.governance.subject import Role
from fogline.inference.card import Digest
from fogline.inference.card import Size as Bytes
from fogline.monitoring.tree_state import RoundState
from fogline.nodes.messages import Hello, Receipt, Report, Step, Stop, Work
from fogline.nodes.traits import AlgorithmTraits
from fogline.registry.release import Outcome, Vitals
from fogline.registry.trust.names import LARGEST_METADATA, LARGEST_TIMESTAMP

PROTOCOL = 5
"""The version that this Fogline speaks,"""
OLDEST = 4
"""and the oldest that it takes from a child: one before, so that parents can be upgraded first, and children later."""
MOVES = 5
"""From this version on a child understands :class:`Moved`."""
SERVICE = "fogline.v1.Node"
ENROLMENT_SERVICE = "fogline.v1.Enrolment"
OPERATOR_SERVICE = "fogline.v1.Operator"
CHUNK = 1 << 20
"""Largest piece of a blob in one message that is taken, in bytes;"""
PIECE = 128 << 10
"""and what is sent: it has to come through within some seconds, also over a line of a few kilobytes a second."""
ALIVE = b""
"""Before the first answer to a fetch, now and then: the sender still has to fetch the blob itself."""
MAX_MESSAGE = 2 << 20
"""Largest message, in bytes; larger ones are refused before they are read."""
SMALL = 32 << 10
"""Bytes up to which a value travels with the message that names it, and lies in the journal."""
BROKEN = "broken"
"""What an aggregator tells of itself where code of a job is wrong: that ends the job."""
UNAPPROVED = "unapproved"
"""What is told of a node that waits for the owners of its site before it takes part in a job."""
SPENT = "spent"
"""What a device tells of itself that has left a job because its data may give away nothing more for it."""


Name = Annotated[str, Meta(pattern=r"\A[\w.:@#/ -]{1,200}\Z")]
"""Of a job or a node, as storage takes it for a key."""
Text = Annotated[str, Meta(max_length=200)]
Jobs = Annotated[tuple[Name, ...], Meta(max_length=500)]

Document = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9](?:[/.]?[A-Za-z0-9_-]){0,149}\Z")]
"""Name of a small file of signed releases."""
Timestamp = Annotated[bytes, Meta(max_length=LARGEST_TIMESTAMP)]

Lists = Annotated[tuple[bytes, ...], Meta(max_length=16)]
"""Lists of nodes that are cut off, as the authority signed them; together they count."""

NOTHING = Offers(cpus=0, memory_bytes=0)


class Blob(msgspec.Struct, frozen=True, gc=False):
    """A value that lies beside a message."""

    digest: Digest
    size: Bytes
    data: bytes = b""
    """Its bytes, where they are few: they travel with the message."""


class ParentAddress(msgspec.Struct, frozen=True, gc=False):
    """Where a child may hang: a node's name and address."""

    name: str
    address: str

    @classmethod
    def parse(cls, text: str, name: str = "cloud") -> ParentAddress:
        """``host:port`` of the node of that name, or ``name@host:port``."""
        before, at, address = text.rpartition("@")
        return cls(before if at else name, address)


class JobAnnouncement(msgspec.Struct, frozen=True):
    """A job as it is announced down the tree."""

    job: Name
    """The job's id: unique at the cloud, and part of names of journals and folders."""
    text: str
    """The resolved job (TOML)."""
    bundle: Blob
    layout: str
    """Tensors of the model that devices and aggregators share: JSON list of [name, shape, type, role]."""
    frozen: Blob | None = None
    """The model's frozen entries, which go to every node once; None where it has none."""
    needs: Needs = Needs()
    priority: int = 0
    traits: AlgorithmTraits = AlgorithmTraits()
    """What the root's method says of itself, so that a node need not import foreign code to know it."""
    hellos: bool = False
    """Whether selection policies want to know devices' sizes and speeds."""
    plan: dict[str, tuple[str, ...]] = {}
    """Children that a parent waits for before the first round, in order; empty where nobody is expected by name."""
    wait: float = 60.0
    """Seconds that it waits for them."""
    depth: int = 0
    """Tier of the node that reads this."""
    surveys: bool = False
    """Whether devices are asked beside the training: to judge models, or queries."""
    nodes: tuple[str, ...] = ()
    """Patterns of the nodes that it is for; none at all: all."""
    approvals: tuple[bytes, ...] = ()
    """What owners signed of it: every site verifies that by itself."""
    fleet_policy: bytes = b""
    """The policy of the whole fleet, as an operator signed it; empty: there is none."""


class UpFrame(msgspec.Struct, frozen=True, tag=True):
    """A frame from a child to its parent."""


class DownFrame(msgspec.Struct, frozen=True, tag=True):
    """A frame from a parent to its child."""


class News(UpFrame, frozen=True):
    """What the cloud is to hear: every node hands it on to its parent as it is."""


# Up: from a child to its parent.


class Present(UpFrame, frozen=True):
    """The first frame of a stream."""

    protocol: int
    offers: Offers = NOTHING
    address: Text = ""
    """Where its own children reach it; empty for a device."""
    jobs: Jobs = ()
    """Jobs that it takes part in; the parent says which of them are over."""
    serves: Channel | None = None
    """Which releases it serves; None: it answers no predictions."""
    instance: Text = ""
    """Drawn at random when the program started: two machines with one identity have two."""
    holds: Text = ""
    """Digest of the lists of revoked nodes that it has."""


class JoinedJob(UpFrame, frozen=True):
    """The child takes part in a job (again, or with another count of devices)."""

    job: Name
    hello: Hello


class LeftJob(UpFrame, frozen=True):
    """The child does not take part in a job, for now or at all."""

    job: Name
    why: str
    unapproved: bool = False
    """Whether it waits for the owners of its site, and will take part when they have approved."""


class Difference(msgspec.Struct, frozen=True, gc=False):
    """What leads to a version of a model from the version before."""

    model: Name
    """Key of the version."""
    blob: Blob


class NodeMessage(UpFrame, DownFrame, frozen=True):
    """A message between the state machines of a job."""

    job: Name
    message: Hello | Work | Step | Report | Receipt | Stop
    blob: Blob | None = None
    differences: Annotated[tuple[Difference, ...], Meta(max_length=100)] = ()
    """That lead to the model which the message names, one after the other, the oldest first: who holds the version
    before one of them needs no more than the rest."""

    @property
    def carried(self) -> int:
        """Bytes of values that travel with it."""
        blobs = [self.blob, *(difference.blob for difference in self.differences)]
        return sum(len(blob.data) for blob in blobs if blob is not None)


class NodeSeen(News, frozen=True):
    """News of a node at or below the child, for the cloud."""

    name: Name
    parent: Name
    role: Text
    up: bool
    offers: Offers = NOTHING
    why: str = ""
    serves: Channel | None = None
    """Which releases it serves; None: it answers no predictions."""
    address: Text = ""
    """Where it dials from."""
    instance: Text = ""
    """See :class:`Present`."""
    holds: Text = ""
    """Digest of the lists of revoked nodes that it has."""


class HeldRevocations(News, frozen=True):
    """An aggregator at or below the child has newer lists of revoked nodes now, for the cloud."""

    name: Name
    holds: Text


class ClonedIdentity(News, frozen=True):
    """Two programs that run at the same time show one identity, for the cloud."""

    name: Name
    parent: Name
    here: Text
    """Address of the one that is connected,"""
    there: Text
    """and of the other."""


class Revoked(UpFrame, DownFrame, frozen=True):
    """Nodes that are cut off. It goes both ways: who has lists that say more hands them on."""

    revoked: Lists


class NewerTimestamp(News, frozen=True):
    """A node at or below the child has a newer timestamp than its parent, for the cloud: it may have gone back to a
    backup."""

    timestamp: Timestamp


class LedgerEnd(UpFrame, DownFrame, frozen=True):
    """The end of a node's ledger of privacy, as the node signed it. It goes up to be kept, and down to be compared."""

    node: Name
    data: Annotated[bytes, Meta(max_length=LARGEST_STATEMENT)]


class LedgerAsked(UpFrame, frozen=True):
    """A node came whose ledger nobody knows up to here; who knows its end sends it down."""

    node: Name


class AuditKnown(DownFrame, frozen=True):
    """So many records of the child's audit log are known to the parent; the child shows the rest."""

    size: Bytes
    head: bytes = b""
    """The newest head that the child signed: from it the child knows whether it went back to a backup."""


class AuditShown(UpFrame, DownFrame, frozen=True):
    """The head of the sender's audit log, as it signed it, and the proof that it goes on from what was shown before."""

    head: Annotated[bytes, Meta(max_length=LARGEST_STATEMENT)]
    since: Bytes
    """Records that the other had seen;"""
    path: Annotated[tuple[Annotated[bytes, Meta(max_length=32)], ...], Meta(max_length=128)]
    """and the hashes that lead from these to the head."""
    knows: Bytes
    """Records of the other's log that the sender has seen."""


class ForkedLog(News, frozen=True):
    """The audit log of a node does not begin with what its parent, or its child, has seen of it, for the cloud."""

    name: Name
    witness: Name
    size: Bytes
    was: Bytes


class JobLog(News, frozen=True):
    """Something for a job's log at the cloud."""

    job: Name
    node: Name
    what: Text
    child: Text = ""
    why: str = ""
    amount: Annotated[int, Meta(ge=1)] = 1


class RoundActivity(News, frozen=True):
    """How an aggregator's part in a job stands, for the cloud. It is sent to parents only that say in their
    :class:`Welcome` that they take it."""

    node: Name
    job: Name
    state: RoundState


class UnknownJobs(UpFrame, frozen=True):
    """Nodes below take part in jobs that this one does not know; who knows that one is over says so."""

    jobs: Jobs


class ReleaseOutcome(UpFrame, frozen=True):
    """What became of a release on a node at or below the child, for the cloud."""

    outcome: Outcome


class ReleaseVitals(UpFrame, frozen=True):
    """How a version fares at and below the child since the last such frame, for the cloud."""

    vitals: Vitals


class Leaving(UpFrame, frozen=True):
    """The child goes, on purpose."""


# Down: from a parent to its child.


class Welcome(DownFrame, frozen=True):
    """The parent's answer to :class:`Present`."""

    name: str
    parent_addresses: tuple[ParentAddress, ...] = ()
    """Other parents that the child may go to when this one is gone."""
    revoked: Lists = ()
    """Nodes that are cut off; empty where the child has these lists."""
    holds: Text = ""
    """Digest of them."""
    timestamp: Timestamp = b""
    """The newest signed timestamp of releases that it has."""
    activity: bool = False
    """Whether it takes :class:`RoundActivity`."""


class Offer(DownFrame, frozen=True):
    """A job that the child may take part in."""

    announcement: JobAnnouncement


class JobEnded(DownFrame, frozen=True):
    """A job is over: what is kept for it may go."""

    job: Name


class Parents(DownFrame, frozen=True):
    """Sent to children: which other parents they may go to."""

    parent_addresses: tuple[ParentAddress, ...]


class Moved(DownFrame, frozen=True):
    """The parent will be reached elsewhere soon, or is already."""

    address: Text


class ReleaseNotice(DownFrame, frozen=True):
    """A newer signed timestamp: there may be a release."""

    timestamp: Timestamp


# Blobs.


class Fetch(msgspec.Struct, frozen=True):
    """Send that blob from there on."""

    digest: Digest
    offset: Bytes = 0
    zstd: bool = True
    """Whether the receiver reads compressed chunks."""
    doubted: bool = False
    """What came before was damaged: the sender should look at its own file first."""


class Size(msgspec.Struct, frozen=True):
    """The first answer to a fetch."""

    size: Bytes


class Push(msgspec.Struct, frozen=True):
    """A blob is coming: the update that answers a request of a job, or a developer's bundle."""

    digest: Digest
    size: Bytes
    job: Text = ""
    task: int = -1


class Have(msgspec.Struct, frozen=True):
    """How much of it the receiver has; all of it when it is whole and verified."""

    offset: Bytes
    zstd: bool = True


# Models.


class BlobSize(msgspec.Struct, frozen=True):
    """How large is that file of a published version? The answer is a :class:`Size`."""

    digest: Digest


class ReadMetadata(msgspec.Struct, frozen=True):
    """Give that small file of signed releases."""

    name: Document
    anew: bool = False
    """What came before was not believed: it is to come from the root, not out of what is kept on the way."""


class MetadataFile(msgspec.Struct, frozen=True):
    """The file, or nothing where there is none of that name."""

    data: Annotated[bytes, Meta(max_length=LARGEST_METADATA)] | None


class OffloadRequest(msgspec.Struct, frozen=True):
    """Answer for a child whose own model was not sure."""

    ask: bytes
    """For whoever serves (:mod:`fogline.serving.cascade.wire`); the answer is of the same kind."""
    seconds: Annotated[float, Meta(gt=0, le=60)]


# Enrolment, where a node without a certificate comes in, and renewal.


class Enrol(msgspec.Struct, frozen=True):
    """A node asks for a certificate."""

    token: Name
    """Id of the token."""
    secret: bytes
    name: Name
    role: Role
    request: bytes
    """Certificate signing request (PEM)."""


class Renew(msgspec.Struct, frozen=True):
    """A node asks for its next certificate. Parents only pass it on: the signature is what counts."""

    request: bytes
    """For the new key (PEM)."""
    certificate: bytes
    """The one that it has (PEM)."""
    signature: bytes
    """Of the request, by the key that it has (ECDSA, SHA-256)."""


class Certificate(msgspec.Struct, frozen=True):
    """A certificate and the root above it (PEM)."""

    certificate: bytes
    root: bytes
    parent_address: ParentAddress
    """The node that it was got from, as a parent."""
    parent_addresses: tuple[ParentAddress, ...] = ()
    """Fogs that a device may hang below."""

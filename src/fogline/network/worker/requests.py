"""What a node asks of its worker process, and the answers: frames of MessagePack.

Values lie in files: a request names those to read and those to write, and the node moves what was written into its
store. A worker keeps nothing that a later request needs but what :class:`Open` loaded.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fogline.inference.card import Lineage
from fogline.nodes.messages import Count, Number
from fogline.nodes.traits import AlgorithmTraits
from fogline.processes.messages import decoder

LARGEST = 256 << 20
"""Bytes of the largest frame: foreign code runs at the other end."""


class WorkerLimits(msgspec.Struct, frozen=True):
    """What the owner of a machine lets a worker take."""

    threads: int = 1
    memory: int | None = None
    """Bytes of memory of its own; None for no limit."""
    niceness: int = 0


class Open(msgspec.Struct, frozen=True, tag=True):
    """Load a job: always the first request."""

    folder: str
    """Where its code was unpacked."""
    text: str
    """The job (TOML)."""
    layout: str = ""
    """The model's layout, so that an aggregator need not build the model to know it."""
    client: str = ""
    """Whose data this node has, by the name of a client of the task's data; empty where it has none."""
    parameters: dict[str, str | int | float | bool] = {}
    """Parameters of the task that the site sets, such as where its data lies."""
    limits: WorkerLimits = WorkerLimits()
    job: str = ""
    """Its name in the log."""


class Describe(msgspec.Struct, frozen=True, tag=True):
    """Check the job and say what nodes must know of it; write the first group and what children get of it."""

    group: str
    model: str
    start: str = ""
    """The weights to begin with; empty: the task's untrained ones."""


class Train(msgspec.Struct, frozen=True, tag=True):
    """Train on this node's data."""

    model: str
    update: str
    state: str
    """Where the method's own vectors of this device go."""
    round: int
    attempt: int
    before: str | None = None
    """The method's own vectors as the last training left them."""


class Adopt(msgspec.Struct, frozen=True, tag=True):
    """Take the parent's model as the group's own."""

    source: str
    group: str
    model: str
    base: str | None = None


class Member(msgspec.Struct, frozen=True):
    """An update to fold."""

    update: str
    child: str
    staleness: int


class Sift(msgspec.Struct, frozen=True, tag=True):
    """Look which updates could not be folded together."""

    members: tuple[Member, ...]


class Move(msgspec.Struct, frozen=True, tag=True):
    """Fold updates and move the group."""

    base: str
    members: tuple[Member, ...]
    inside: bool
    population: int
    round: int
    """Moves that the group made before."""
    group: str
    model: str
    lane: int = 0
    lanes: int = 1


class Merge(msgspec.Struct, frozen=True, tag=True):
    """Fold updates into a partial result."""

    members: tuple[Member, ...]
    update: str


class Lift(msgspec.Struct, frozen=True, tag=True):
    """Make the group's movement into an update for the parent."""

    base: str
    update: str


class Evaluate(msgspec.Struct, frozen=True, tag=True):
    """Judge the group's model on the test set."""

    group: str


class Conclude(msgspec.Struct, frozen=True, tag=True):
    """Write the result of a finished run into its folder, where the rows of its rounds are."""

    folder: str
    group: str
    counts: dict[str, int]
    reasons: dict[str, str]
    wall: float


class Base(msgspec.Struct, frozen=True):
    """The weights of an older version."""

    digest: str
    path: str


class PackageModel(msgspec.Struct, frozen=True, tag=True):
    """Make the group's model into a version that nodes can serve."""

    group: str
    folder: str
    """Takes its files."""
    model: str
    codec: str
    """How it travels to who has the version before."""
    variants: tuple[Literal["int8", "fp16"], ...]
    lineage: Lineage
    before: tuple[Base, ...] = ()
    """Versions that nodes may have, the newest first."""
    graph: str | None = None
    """Of the version before: exporting takes seconds."""


Request = Open | Describe | Train | Adopt | Sift | Move | Merge | Lift | Evaluate | Conclude | PackageModel


class JobOpened(msgspec.Struct, frozen=True, tag=True):
    """The job is loaded."""

    samples: Count = 0
    """Examples that this node has."""


class Described(msgspec.Struct, frozen=True, tag=True):
    """What nodes must know of the job."""

    text: str
    layout: str
    traits: AlgorithmTraits
    headline: str
    higher_is_better: bool
    units: dict[str, str]
    clients: tuple[str, ...]
    """The clients of the data that lies here."""
    plan: dict[str, tuple[str, ...]]
    """Clients below each aggregator of the last tier, as a simulation would place them."""


class Trained(msgspec.Struct, frozen=True, tag=True):
    """A local round is over."""

    samples: Count
    loss: Number | None = None
    loss_rms: Number | None = None
    failure: str | None = None
    state: bool = False
    """Whether the method keeps vectors on this device."""


class Written(msgspec.Struct, frozen=True, tag=True):
    """The files are written; ``refused``: children whose updates could not be used, and why. ``empty``: nothing
    could be folded, so there is no update."""

    refused: tuple[tuple[str, str], ...] = ()
    empty: bool = False


class Sifted(msgspec.Struct, frozen=True, tag=True):
    """Children whose updates are none, and why."""

    refused: tuple[tuple[str, str], ...] = ()


class Evaluated(msgspec.Struct, frozen=True, tag=True):
    """Metrics on the test set; none where there is no test set here."""

    metrics: dict[str, float]


class Packaged(msgspec.Struct, frozen=True, tag=True):
    """The files of a version are written."""

    card: bytes
    files: dict[str, str]
    """Paths by digest."""
    notes: tuple[str, ...] = ()
    """What people should know."""


class RequestFailed(msgspec.Struct, frozen=True, tag=True):
    """The request could not be carried out."""

    why: str
    bug: bool = False
    """Whether the job's own code is wrong, so that the next time would be no better."""


Answer = JobOpened | Described | Trained | Written | Sifted | Evaluated | Packaged | RequestFailed

REQUESTS = decoder(Request)
ANSWERS = decoder(Answer)

"""What a node asks of its worker process, and the answers: frames of MessagePack.

What its state machine decided goes there as it is, as an effect (:class:`fogline.compute.effects.CarryOut`).
Values lie in files: a request names those to read and those to write, and the node moves what was written into its
store. A worker keeps nothing that a later request needs but what :class:`Open` loaded.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fogline.compute.effects import CarriedOut, CarryOut, Sift
from fogline.inference.card import Lineage
from fogline.nodes.messages import Count
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
    """The layout of what devices and aggregators share, so that an aggregator need not build the model to know it."""
    depth: int = 0
    """Aggregators above this node, by which it knows the stages of its links."""
    node: str = ""
    """Its name."""
    client: str = ""
    """Whose data this node has, by the name of a client of the task's data; empty where it has none."""
    parameters: dict[str, str | int | float | bool] = {}
    """Parameters of the task that the site sets, such as where its data lies."""
    limits: WorkerLimits = WorkerLimits()
    job: str = ""
    """Its name in the log."""
    frozen: str = ""
    """The model's frozen entries; empty: it has none, or this node needs no whole model."""


class Describe(msgspec.Struct, frozen=True, tag=True):
    """Check the job and say what nodes must know of it; write the first group, what children get of it, and what they
    get once for all rounds."""

    group: str
    model: str
    key: str
    """Of the model."""
    start: str = ""
    """The weights to begin with; empty: the task's untrained ones."""
    frozen: str = ""
    """Takes the model's frozen entries, if it has any."""


class CutModel(msgspec.Struct, frozen=True, tag=True):
    """Write the part of a model that a device with a smaller one gets."""

    model: str
    part: str
    """Takes it."""
    ranges: str
    """Of the smaller one."""


class RestoreModel(msgspec.Struct, frozen=True, tag=True):
    """Write the model that differences lead to from one that is here."""

    held: str
    differences: tuple[str, ...]
    """One after the other."""
    model: str
    """Takes it."""


class Evaluate(msgspec.Struct, frozen=True, tag=True):
    """Say what devices said of themselves when the group's model was made, and judge it on the test set."""

    group: str
    judges: bool = True
    """Whether it is to be judged."""


class ModelToJudge(msgspec.Struct, frozen=True, tag=True):
    """Write what devices get that are to judge the group's model; a query needs none, and gets an empty one."""

    group: str
    """Empty: none."""
    model: str
    round: int = 0
    """After which it is judged."""


class Summarise(msgspec.Struct, frozen=True, tag=True):
    """Say what the sums of devices mean that have judged a model, or answered a query."""

    sums: bytes
    query: str = ""


class LayStatistics(msgspec.Struct, frozen=True, tag=True):
    """Write the group with the running statistics that devices have measured of its model."""

    group: str
    sums: bytes
    laid: str
    """Takes it."""


class Conclude(msgspec.Struct, frozen=True, tag=True):
    """Write the result of a finished run into its folder, where the rows of its rounds are."""

    folder: str
    group: str
    counts: dict[str, int]
    reasons: dict[str, str]
    wall: float
    sums: bytes = b""
    """Of the devices that judged it; empty where none did."""
    queries: dict[str, dict[str, float]] = {}
    """What devices answered."""
    cut_off: dict[str, str] = {}
    """Nodes that were in quarantine, and why."""
    lost_rounds: int = 0
    """Rounds that came to nothing."""


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
    found: dict[str, float] = {}
    """What devices found of it, for a model that no test set can judge: each has tensors of its own."""


Request = (
    Open
    | Describe
    | CarryOut
    | Sift
    | CutModel
    | RestoreModel
    | Evaluate
    | ModelToJudge
    | Summarise
    | LayStatistics
    | Conclude
    | PackageModel
)


class JobOpened(msgspec.Struct, frozen=True, tag=True):
    """Answer of a worker that has loaded the job."""

    samples: Count = 0
    """Examples that this node has."""
    trains: bool = True
    """False: its client is one that never trains."""
    steps: Count = 0
    """Of the job's exchange: what a device is asked for must have as many."""
    summed: Count = 0
    """Likewise of that in which answers to queries are added up."""
    ranges: str = ""
    """The numbers of a model that this node wants; empty: all."""
    keeps: bool = False
    """Whether it keeps the last model that it got: the next may come as the difference to it."""


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
    frozen: bool = False
    """Whether frozen entries were written."""
    measures: bool = False
    """Whether devices measure running statistics of the model before it is judged or handed out."""


class Evaluated(msgspec.Struct, frozen=True, tag=True):
    """Metrics on the test set, none where there is no test set here; or what devices found, as a round's row has it."""

    metrics: dict[str, float]
    reported: dict[str, float] = {}
    """Means of what devices said of themselves in the round, by ``metric/<name>``."""


class ModelWritten(msgspec.Struct, frozen=True, tag=True):
    """What devices are to judge, a group, or a model or the part of one that a node gets, is written."""


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
    line: str = ""
    """Where that is: file and line, as far as they are known."""


Answer = JobOpened | Described | CarriedOut | Evaluated | ModelWritten | Packaged | RequestFailed

REQUESTS = decoder(Request)
ANSWERS = decoder(Answer)

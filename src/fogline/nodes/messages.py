"""What parents and children say to each other. Values (models, updates) travel beside, named by keys."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=2**53)]
Positive = Annotated[int, Meta(ge=1, le=2**53)]
Number = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""Neither infinite nor NaN: messages come from anywhere, and what was never written by a node is refused."""
Effort = Annotated[float, Meta(gt=0, le=10)]
"""Of the work that a round means, how much is asked for: 0.5 is half as many steps."""
Kind = Literal["train", "evaluate", "query", "measure"]
"""What a parent asks for: an update of the model, how good the model is on examples held out, sums over examples, or
the model's running statistics over examples."""
SUMMED: tuple[Kind, ...] = ("evaluate", "query")
"""What may be asked for beside the training with the steps of an exchange, in which the answers are added up."""
Marks = Annotated[bytes, Meta(max_length=1 << 20)]
"""Devices, a mark of eight bytes each (:func:`fogline.nodes.ledger.mark_of`)."""
HERE = ""
"""The parent of the root's survey machine: the root itself, which asks it."""
Key = str
"""Names a value in the runtime's store: a model that goes down, an update that comes up."""


def update_key(parent: str, task: int) -> Key:
    """Name of the update that answers a parent's request."""
    return f"{parent}#{task}"


def step_key(parent: str, task: int, number: int) -> Key:
    """Name of what a child sends in a step of an exchange."""
    return f"{parent}#{task}/{number}"


def reply_key(parent: str, task: int, number: int) -> Key:
    """Name of what the parent answers to a child's step."""
    return f"{parent}#{task}/{number}/reply"


def model_key(node: str, version: int) -> Key:
    """Name of a version of a node's model."""
    return f"{node}@{version}"


class Hello(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What a child says of itself when it joins a job."""

    devices: Positive = 1
    """Devices below and including it."""
    samples: Count = 0
    """Examples they hold, if they say so."""
    seconds: Number | None = None
    """How long it thinks a round takes it."""
    task: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    """The highest number of a request of this parent that it has taken; -1: none."""
    asked: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    """Likewise of what is asked beside the training."""
    trains: bool = True
    """False: it is only asked beside the training."""
    ranges: Annotated[str, Meta(max_length=1 << 20)] = ""
    """The numbers of a model that it wants, as :class:`fogline.params.ranges.ModelRanges` tells them; empty: all."""


class Work(msgspec.Struct, frozen=True, gc=False, tag=True, omit_defaults=True):
    """Parent to child: bring an update of this model, or judge it, or answer a query."""

    task: Count
    """The parent's number for this request; it never gives the same number twice."""
    model: Key
    round: Count
    """Round of the root, for schedules."""
    kind: Kind = "train"
    query: str = ""
    """Of kind ``query``: which function of the examples, with its parameters."""
    steps: Count = 0
    """Steps of an exchange that it takes when it has trained; what it sends in the last one is its report."""
    effort: Effort = 1.0


class Step(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Child to parent: what it sends in a step of an exchange. Parent to child: the answer to that step."""

    task: Count
    number: Count
    """Of the step, counted from 0."""
    value: Key


class Report(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Child to parent: the update that was asked for, or why there is none."""

    task: Count
    update: Key | None
    samples: Count = 0
    devices: Positive = 1
    loss_rms: Number | None = None
    failure: str | None = None
    training: Annotated[float, Meta(ge=0, le=sys.float_info.max)] | None = None
    """Seconds that it trained, if it says so."""
    marks: Marks = b""
    """Of an aggregator whose job has a minimum over the tree: the devices that are in it."""


class Receipt(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Parent to child: the report is on disk (or refused); forget it."""

    task: Count
    accepted: bool


class Stop(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Parent to child: the job is over."""


Message = Hello | Work | Step | Report | Receipt | Stop

"""The replay of a job's journal after a crash: its entries, and how a new state machine becomes what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import msgspec

from fogline.nodes.messages import Key
from fogline.nodes.records import Record
from fogline.processes.messages import Decoder, decoder
from fogline.storage import StorageError

JOURNAL = 1
"""Format of journals: it changes when records mean something else."""


class Under(msgspec.Struct, frozen=True, tag=True):
    """In the journal: from here on records are about work for that parent; tasks are numbered by it."""

    parent: str
    begun: str
    """Drawn when the journal was begun. The job may end, and begin anew under its name, with another journal: what is
    counted from the beginning of this one is counted beside what was before."""
    format: int = JOURNAL


class ModelMoved(msgspec.Struct, frozen=True, tag=True):
    """In the root's journal, in the transaction of a move: what the job's history says of it, whatever crash comes
    before that is written."""

    model: Key
    """What it moved to."""
    round: int
    final: bool
    """Whether the round is over with it (a hop of a ring is not)."""
    updates: int
    devices: int
    """Different devices whose updates are in it."""
    at: float
    """The job's seconds."""


ENTRIES: Decoder[Record | Under | ModelMoved] = decoder(Record | Under | ModelMoved)
ENCODE = msgspec.msgpack.Encoder().encode


class Machine(Protocol):
    """A state machine that takes over what records say."""

    def apply(self, record: Record) -> None:
        """Take over one record."""
        ...

    def apply_elsewhere(self, record: Record) -> None:
        """Take over what counts of one of work for another parent."""
        ...


class Replayed(NamedTuple):
    """What a journal said beside the machine's state."""

    under: str | None
    """The parent whose work its last records are about; None: the journal is empty."""
    begun: str
    """What tells this journal from all others; empty where it is empty."""
    fresh: bool
    """Whether nothing of it is about work for the parent that the node has now."""
    at: float
    """The job's seconds at its last record."""
    moves: list[ModelMoved]
    """Of the root's model."""


def replay(
    job: str, entries: Iterable[bytes], parent: str, machine: Machine, count: Callable[[Record], None]
) -> Replayed:
    """Let a new machine become what a journal says.

    Args:
        job: whose journal it is.
        entries: of the journal, in order.
        parent: whose work the node does now; records of work for another are counted, and mostly no more.
        machine: new.
        count: told of every record.

    Raises:
        StorageError: it cannot be read, or another version of Fogline wrote it.
    """
    under, begun, fresh, at = None, "", True, 0.0
    moves: list[ModelMoved] = []
    for entry in entries:
        record = _read(job, entry)
        if isinstance(record, Under):
            under, begun = record.parent, record.begun
            continue
        if under is None:
            raise StorageError(f"the journal of job {job} lacks its beginning")
        if isinstance(record, ModelMoved):
            moves.append(record)
            continue
        if under == parent:
            machine.apply(record)
            fresh = False
        else:
            machine.apply_elsewhere(record)
        count(record)
        at = max(at, getattr(record, "at", 0.0))
    return Replayed(under, begun, fresh, at, moves)


def _read(job: str, entry: bytes) -> Record | Under | ModelMoved:
    try:
        record = ENTRIES.decode(entry)
    except msgspec.DecodeError as error:
        raise StorageError(f"the journal of job {job} cannot be read: {error}") from None
    if isinstance(record, Under) and record.format != JOURNAL:
        raise StorageError(
            f"the journal of job {job} has format {record.format}; this version of Fogline reads {JOURNAL}: "
            "end the job, or run the version that began it"
        )
    return record

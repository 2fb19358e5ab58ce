"""What a data owner has given away, job after job: a file that is only ever added to, beside the data.

A line is an entry (JSON) and names the digest of the line before, so that none can be changed, left out or put in
between. An entry is on disk before what it is about leaves the node: a crash can charge for what never left, and never
the other way round. What a job has given away since it began stands in its last entry, in all: mechanisms whose noise
is correlated over rounds do not add up round by round.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from fogline.decoding import UNREADABLE
from fogline.errors import FoglineError
from fogline.privacy.accounting.events import UNITS, AccountantName, Event, Gaussian, Unit
from fogline.privacy.accounting.tally import tally
from fogline.storage.errors import explained
from fogline.storage.files import sync_folder

FILE = "privacy.jsonl"


class LedgerError(FoglineError):
    """A ledger cannot be believed; one sentence with what to do."""


class BudgetError(FoglineError):
    """What is asked would give away more than is allowed; one sentence."""


class LedgerEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the ledger."""

    number: int
    """Rises from entry to entry; by one, but where entries were lost."""
    before: str
    """SHA-256 of the line before, in hexadecimal; empty in the first."""
    at: float
    """Unix time."""
    job: str
    unit: Unit
    rounds: int
    """How far the job is charged: from its first round up to this one, counted from 1."""
    events: tuple[Event, ...]
    """What the job has given away in these rounds, in all; what earlier entries of the same start say counts no
    more."""
    epsilon: float | None
    """Over all jobs, after this; None: without bound."""
    delta: float
    start: str = ""
    """Which start of the job, as :class:`Charge` has it."""
    lost: tuple[int, str] | None = None
    """Number and digest of the entry that a lost ledger ended with, whose events were taken over."""


class Limit(msgspec.Struct, frozen=True):
    """What may be given away."""

    epsilon: float
    delta: float


class Charge(msgspec.Struct, frozen=True):
    """What is about to be given away."""

    job: str
    unit: Unit
    rounds: int
    """See :class:`LedgerEntry`."""
    events: tuple[Event, ...]
    delta: float
    epsilon: float | None = None
    """What the job may give away at ``delta``; None: as much as it takes."""
    accountant: AccountantName = "pld"
    start: str = ""
    """Which start of the job. A name is others' to give: a job that begins anew under one that was there before, and
    another job of the same name, give away something beside what that one did."""


LINE = msgspec.json.Decoder(LedgerEntry)


class PrivacyLedger:
    """An owner's ledger.

    Args:
        path: the file; it is made with the first entry.

    Raises:
        LedgerError: the file was changed, or is damaged.
        StorageError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts: dict[tuple[str, str], LedgerEntry] = {}
        """The last entry of each start of a job, by both."""
        self.number = 0
        """Of the last entry; 0: there is none."""
        self.digest = ""
        """Of its line."""
        self.epsilon: float | None = 0.0
        """Over all jobs, as its last entry says; None: without bound."""
        self._known: set[tuple[int, str]] = set()
        self._size = 0
        """Bytes of all whole lines: what a crash left of another is written over."""
        with explained("read what was given away", path):
            data = path.read_bytes() if path.exists() else b""
        for place, line in enumerate(data.split(b"\n")[:-1], 1):
            self._take(self._checked(line, place), line)

    @property
    def unit(self) -> Unit:
        """The smallest unit of all jobs: what is promised over all of them is promised for that."""
        protected = {entry.unit for entry in self.starts.values()}
        for unit in UNITS:
            if unit in protected:
                return unit
        return "site"

    def events(self, without: tuple[str, str] | None = None) -> tuple[Event, ...]:
        """What all jobs have given away, or all but one start of one."""
        return tuple(event for start, entry in self.starts.items() if start != without for event in entry.events)

    def trainings(self, job: str) -> int:
        """How far a job is charged, over all its starts."""
        return sum(entry.rounds for entry in self.starts.values() if entry.job == job)

    def spent(self, delta: float) -> float:
        """ε over all jobs."""
        return _epsilon(self.events(), delta)

    def holds(self, number: int, digest: str) -> bool:
        """Whether an entry is one of this ledger's, or was taken over by one."""
        return number == 0 or (number, digest) in self._known

    def charge(self, charge: Charge, owner: Limit | None = None) -> LedgerEntry | None:
        """Write down what is about to be given away; None where the job is charged so far already.

        Args:
            charge: by which job.
            owner: what the owner allows over all jobs; None: as much as jobs ask for.

        Raises:
            BudgetError: it is more than the job, or the owner, allows; nothing is written.
            StorageError: it cannot be written, so it must not leave.
        """
        start = charge.job, charge.start
        before = self.starts.get(start)
        if before is not None and before.rounds >= charge.rounds:
            return None
        _check_job(charge, [entry for known, entry in self.starts.items() if known[0] == charge.job and known != start])
        delta = charge.delta if owner is None else owner.delta
        spent = _epsilon((*self.events(without=start), *charge.events), delta)
        if owner is not None and spent > owner.epsilon:
            raise BudgetError(
                f"Training {charge.rounds} for job {charge.job} would bring what this data gives away over all jobs to "
                f"ε = {spent:.4g} at δ = {delta:g}, and its owner allows {owner.epsilon:g}"
            )
        return self._write(charge, spent, delta, self.number + 1)

    def take_over(self, number: int, digest: str, events: Iterable[Event], unit: Unit, delta: float) -> LedgerEntry:
        """Book all that a ledger had given away which is lost, beside what stands here: it can only be too much.

        Args:
            number: of its last entry,
            digest: and that one's digest.
            events: what it had given away over all jobs.
            unit: the smallest unit of those.
            delta: for the ε of the entry.

        Raises:
            StorageError: it cannot be written.
        """
        charge = Charge(f"(lost up to entry {number})", unit, 0, tuple(events), delta)
        spent = _epsilon((*self.events(), *charge.events), delta)
        return self._write(charge, spent, delta, max(self.number, number) + 1, (number, digest))

    def _write(
        self, charge: Charge, spent: float, delta: float, number: int, lost: tuple[int, str] | None = None
    ) -> LedgerEntry:
        bound = spent if math.isfinite(spent) else None
        # JSON has no infinity: what is known of no bound is written as what has no noise.
        events = (Gaussian(0.0),) if tally(charge.events).everything else charge.events
        entry = LedgerEntry(
            number,
            self.digest,
            time.time(),
            charge.job,
            charge.unit,
            charge.rounds,
            events,
            bound,
            delta,
            charge.start,
            lost,
        )
        line = msgspec.json.encode(entry)
        new = not self.path.exists()
        with explained("write down what is given away", self.path), self.path.open("xb" if new else "r+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
            if new:
                sync_folder(self.path.parent)
        self._take(entry, line)
        return entry

    def _take(self, entry: LedgerEntry, line: bytes) -> None:
        self.starts[entry.job, entry.start] = entry
        self.number, self.digest = entry.number, hashlib.sha256(line).hexdigest()
        self.epsilon = entry.epsilon
        self._known.add((self.number, self.digest))
        if entry.lost is not None:
            self._known.add(entry.lost)
        self._size += len(line) + 1

    def _checked(self, line: bytes, place: int) -> LedgerEntry:
        try:
            entry = LINE.decode(line)
        except UNREADABLE:
            raise self._broken(place, "cannot be read") from None
        if entry.before != self.digest or entry.number <= self.number:
            raise self._broken(place, "does not follow the one before")
        return entry

    def _broken(self, place: int, what: str) -> LedgerError:
        return LedgerError(
            f"Line {place} of {self.path} {what}, so what this data has given away is not known; put back the newest "
            "whole copy of the file. Until then no job with differential privacy runs here"
        )


def _check_job(charge: Charge, earlier: Iterable[LedgerEntry]) -> None:
    """Refuse what the job itself does not allow. ``earlier``: of its other starts."""
    if charge.epsilon is None:
        return
    before = (event for entry in earlier for event in entry.events)
    spent = _epsilon((*before, *charge.events), charge.delta, charge.accountant)
    if spent > charge.epsilon:
        raise BudgetError(
            f"Training {charge.rounds} for job {charge.job} would bring what it gives away of this data to "
            f"ε = {spent:.4g} at δ = {charge.delta:g}, and the job allows {charge.epsilon:g}"
        )


def _epsilon(events: Iterable[Event], delta: float, accountant: AccountantName = "pld") -> float:
    from fogline.privacy.accounting.accountants import epsilon  # Not above: it needs arrays, and an agent is small.

    return epsilon(events, delta, accountant)

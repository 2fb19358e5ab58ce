"""Keeps samples that a model was unsure of, or that came while inputs drifted, for labelling and training.

They stay in a folder on this machine. Nothing here sends them anywhere; a task that runs on the machine may train on
those that were labelled (:func:`fogline.serving.quality.labelled.labelled`).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from fogline.inference.features import Numbers
from fogline.inference.runtimes.base import Array
from fogline.params import load_arrays
from fogline.serving.quality.reservoir import Reservoir
from fogline.serving.quality.samples import SUFFIX, DamagedSampleError, Notes, name_of, notes_of, write
from fogline.storage.atomic import DRAFT

log = logging.getLogger("fogline.serving")

OVERHEAD = 1024
"""Bytes that a sample is taken to need beside its numbers."""
MOST_WAITING = 16
"""Samples that wait for the disk; what comes while so many do is not kept."""


class Candidate(NamedTuple):
    """A sample that is kept, by the name of its files."""

    name: str
    notes: Notes


class _Kept(NamedTuple):
    size: int
    notes: Notes


class SampleStore:
    """A bounded folder of samples. Files are written by a thread of its own, each whole or not at all.

    When the folder is full, samples without a label go first, those of the most frequent class before others, and among
    them by a weighted lottery in which unsure ones stay longer: so it stays diverse and of all times.

    Args:
        folder: made if it is missing.
        limit_bytes: of all files together.
        consent: whether the owner of the data lets samples be kept; without it none is.
        hard: confidence below which a sample counts as hard.
        clock: Unix time.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        consent: bool = False,
        hard: float = 0.6,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.hard = hard
        self.lost = 0
        """Samples that could not be written or were not waited for."""
        self._folder, self._limit, self._consent, self._clock = folder, limit_bytes, consent, clock
        self._lottery = random.Random()
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._of_request: dict[str, str] = {}
        self._bare, self._labelled = Reservoir(), Reservoir()
        self._bytes = self._waiting = 0
        self._refused = False
        folder.mkdir(parents=True, exist_ok=True)
        self._recover()
        self._disk = ThreadPoolExecutor(1, "sample_store")

    def draw(self, weights: Numbers) -> tuple[int, float] | None:
        """One of several rows, the heavier the likelier, and its key; None if all weights are zero or nothing is kept.

        The key is ``u ** (1 / weight)`` (Efraimidis and Spirakis, 2006).
        """
        if not self._consent or not weights.any():
            return None
        draws = np.array([self._lottery.random() for _ in weights])
        keys = draws ** (1.0 / np.maximum(weights, 1e-9))
        keys[weights <= 0] = -1.0
        best = int(keys.argmax())
        return best, float(keys[best])

    def offer(self, inputs: Mapping[str, Array], notes: Notes) -> bool:
        """Whether a sample is kept; it is written soon.

        Args:
            inputs: of one sample, without the axis of the batch. Nobody may change them afterwards.
            notes: what is known of it.
        """
        if not self._consent or any(array.dtype.hasobject for array in inputs.values()):
            return False
        name = name_of(inputs)
        size = OVERHEAD + sum(array.nbytes for array in inputs.values())
        with self._lock:
            if name in self._kept or size > self._limit:
                return False
            if self._waiting >= MOST_WAITING:
                self.lost += 1
                return False
            notes = msgspec.structs.replace(notes, at=self._clock())
            self._add(name, _Kept(size, notes))
            given_up = self._make_room()
        for other in given_up:
            if other != name:
                self._later(self._path(other).unlink, True)
        if name in given_up:
            return False
        self._later(self._write, name, inputs, notes)
        return True

    def label(self, request: str, labels: Sequence[int | float]) -> bool:
        """What the answers to a request should have been, one for each row; whether a kept sample has its label now."""
        with self._lock:
            name = self._of_request.get(request, "")
            if not name or self._kept[name].notes.row >= len(labels):
                return False
            size, notes = self._kept[name]
            notes = msgspec.structs.replace(notes, label=labels[notes.row])
            self._remove(name)
            self._add(name, _Kept(size, notes))
        self._later(self._rewrite, name, notes)
        return True

    def forget(self, request: str) -> None:
        """The id of a request is in use again: labels for it are not for the sample that was kept before."""
        if request in self._of_request:
            with self._lock:
                self._of_request.pop(request, None)

    def candidates(self) -> list[Candidate]:
        """Samples without a label, the ones most worth one first."""
        with self._lock:
            found = [Candidate(name, kept.notes) for name, kept in self._kept.items() if kept.notes.label is None]
        return sorted(found, key=lambda candidate: -candidate.notes.key)

    def inputs(self, name: str) -> dict[str, Array]:
        """A sample's inputs, without the axis of the batch.

        Raises:
            KeyError: it is not there, any more or yet.
        """
        try:
            return load_arrays(self._path(name))
        except FileNotFoundError:
            raise KeyError(name) from None

    def close(self) -> None:
        """Write what waits; nothing may be offered afterwards."""
        self._disk.shutdown()

    # The index; the lock is held.

    def _add(self, name: str, kept: _Kept) -> None:
        self._kept[name] = kept
        self._bytes += kept.size
        if kept.notes.request:
            self._of_request[kept.notes.request] = name
        pool = self._bare if kept.notes.label is None else self._labelled
        pool.put(name, kept.notes.guess, kept.notes.key)

    def _remove(self, name: str) -> None:
        kept = self._kept.pop(name)
        self._bytes -= kept.size
        if self._of_request.get(kept.notes.request) == name:
            del self._of_request[kept.notes.request]
        (self._bare if kept.notes.label is None else self._labelled).drop(name)

    def _make_room(self) -> list[str]:
        given_up: list[str] = []
        while self._bytes > self._limit:
            given_up.append((self._bare if len(self._bare) else self._labelled).next())
            self._remove(given_up[-1])
        return given_up

    # The disk

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _recover(self) -> None:
        """Read the folder: half-written files and damaged ones are deleted."""
        for draft in self._folder.glob(f"*{DRAFT}"):
            draft.unlink(missing_ok=True)
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                self._add(path.stem, _Kept(path.stat().st_size, notes_of(path)))
            except DamagedSampleError as error:
                log.warning("%s It is deleted.", error)
                path.unlink(missing_ok=True)
        for name in self._make_room():
            self._path(name).unlink(missing_ok=True)

    def _later(self, work: Callable[..., None], *arguments: object) -> None:
        with self._lock:
            self._waiting += 1
        self._disk.submit(self._do, work, *arguments)

    def _do(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        finally:
            with self._lock:
                self._waiting -= 1

    def _write(self, name: str, inputs: Mapping[str, Array], notes: Notes) -> None:
        path = self._path(name)
        try:
            write(path, inputs, notes)
            self._refused = False
        except OSError as error:
            if not self._refused:
                log.warning("Samples cannot be kept in %s: %s. Later ones are tried.", self._folder, error.strerror)
            self._refused = True
            with self._lock:
                self.lost += 1
                if name in self._kept and not path.exists():
                    self._remove(name)

    def _rewrite(self, name: str, notes: Notes) -> None:
        try:
            inputs = load_arrays(self._path(name))
        except FileNotFoundError:
            return  # It was given up, or could not be written.
        self._write(name, inputs, notes)

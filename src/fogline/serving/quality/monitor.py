"""How a served version fares: counts, drift, and labels that come later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from fogline.inference.card import Card
from fogline.inference.confidence import classes, confidence
from fogline.inference.runtimes.base import Array
from fogline.inference.sketches import Reference, Sketch
from fogline.registry.release import BUCKETS, Tally, Vitals
from fogline.serving.quality.answers import Answers
from fogline.serving.quality.pagehinkley import PageHinkley
from fogline.serving.quality.sample_store import SampleStore
from fogline.serving.quality.samples import Notes
from fogline.serving.quality.window import SampleWindow, WindowDrift

GROUP = 64
"""Rows that are looked at together,"""
GROUP_BYTES = 1 << 20
"""or fewer, where they are large."""
BATCH = 32
"""Rows that are looked at of one request: evenly spaced ones of a larger batch."""
DENSE = 512
"""Rows since the last :meth:`QualityMonitor.take` (of a batch at most :data:`BATCH`) up to which every request is
looked at. From there on every second, from twice as many every fourth, and so on: a busy node spends almost nothing on
it, and a quiet one misses nothing."""

_NONE = np.zeros(0)


class _Seen(NamedTuple):
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    request: str


class QualityMonitor:
    """Watches one served version. All calls come from one thread.

    Requests, errors, latencies, offloads and labels are all counted; inputs and confidence are sampled
    (:data:`BATCH`, :data:`DENSE`). What is sampled is put aside and looked at in groups, in small pieces
    (:meth:`look`) that find their place between requests, so that none waits for all of it.

    Args:
        card: of the version.
        reference: what inputs and confidence are compared with; None: they are not.
        sample_store: keeps samples for labelling; None: none are kept.
    """

    def __init__(self, card: Card, reference: Reference | None, sample_store: SampleStore | None = None) -> None:
        self.card = card
        self._reference = reference
        self._sample_store = sample_store
        self._window = SampleWindow(reference) if reference is not None else None
        self._confidence = PageHinkley()
        self._answers = Answers(card)
        self._waiting: list[_Seen] = []
        self._groups: deque[Iterator[None]] = deque()
        """What is left to do for each group that is, or will be, looked at."""
        self._rows = self._bytes = 0
        self._drifting = False
        self._by_rows = all(tensor.shape[:1] == (-1,) for tensor in (*card.inputs, *card.outputs))
        """Whether there is a batch, of which single examples can be looked at."""
        # Strings may be long, and how long cannot be seen cheaply.
        self._group = GROUP // 8 if any(tensor.datatype == "BYTES" for tensor in card.inputs) else GROUP
        self._begin()

    def _begin(self) -> None:
        self._tally, self._come = _Counts(), 0
        self._sketch = Sketch.zero(self._reference) if self._reference is not None else None

    def saw(
        self,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        seconds: float,
        request: str = "",
        offloaded: int = 0,
    ) -> bool:
        """A request was answered; whether there is something for :meth:`look`.

        Args:
            inputs: as the model took them; nobody may change the arrays afterwards.
            outputs: as they were answered; likewise.
            seconds: the request took.
            request: its id, if labels may come for it later. One that comes again stands for the newer request.
            offloaded: rows that a tier above answered.
        """
        tally = self._tally
        rows = len(next(iter(outputs.values()))) if self._by_rows else 1
        tally.answers += 1
        tally.rows += rows
        tally.offloaded += offloaded
        tally.seconds += seconds
        tally.latency[min(int(seconds / BUCKETS[0]).bit_length(), len(BUCKETS))] += 1
        if request:
            self._answers.remember(request, outputs)
            if self._sample_store is not None:
                self._sample_store.forget(request)
        every = 1 << (self._come // DENSE).bit_length()
        self._come += min(rows, BATCH)
        if tally.answers & (every - 1) or not self._by_rows:
            return bool(self._groups)
        self._waiting.append(_Seen(inputs, outputs, request))
        self._rows += min(rows, BATCH)
        self._bytes += sum([array.nbytes for array in inputs.values()])
        if self._rows >= self._group or self._bytes >= GROUP_BYTES:
            self._take_up()
        return bool(self._groups)

    def look(self) -> bool:
        """Look at a piece of what was put aside, which takes a fraction of a millisecond; whether more is left."""
        while self._groups:
            if next(self._groups[0], self) is None:
                return True
            self._groups.popleft()
        return False

    def failed(self) -> None:
        """Count a request that failed."""
        self._tally.errors += 1

    def compared(self, agreed: int, total: int) -> None:
        """A shadow gave answers too, to ``total`` rows, and the same to ``agreed`` of them."""
        self._tally.agreed += agreed
        self._tally.compared += total

    def label(self, request: str, labels: Sequence[int | float]) -> int:
        """What the answers to a request should have been, one for each row; how many could be used."""
        self._look_at_all()
        used, correct = self._answers.judge(request, labels)
        self._tally.labels += used
        self._tally.correct += correct
        if self._sample_store is not None and self._sample_store.label(request, labels):
            used = max(used, 1)
        return used

    def take(self) -> Vitals:
        """What happened since the last call."""
        self._look_at_all()
        tally, sketch = self._tally.tally(), self._sketch
        self._begin()
        data = sketch.encode() if sketch is not None and sketch.rows else b""
        return Vitals(self.card.model, self.card.version, tally, sketch=data)

    def drift(self) -> WindowDrift:
        """How far the last samples are from the reference, and whether confidence has fallen."""
        self._look_at_all()
        found = self._window.drift() if self._window is not None else WindowDrift()
        return found._replace(fallen=self._confidence.fallen, statistic=self._confidence.statistic)

    def _look_at_all(self) -> None:
        """Look at all that was put aside."""
        self._take_up()
        while self.look():
            pass

    def _take_up(self) -> None:
        """What was put aside becomes the next group."""
        self._groups.append(self._pieces(self._waiting))
        self._waiting, self._rows, self._bytes = [], 0, 0

    def _pieces(self, waiting: list[_Seen]) -> Iterator[None]:
        """Look at requests of one shape together."""
        groups: dict[object, list[_Seen]] = {}
        for seen in waiting:
            shapes = tuple([array.shape[1:] for array in (*seen.inputs.values(), *seen.outputs.values())])
            groups.setdefault(shapes, []).append(seen)
        yield
        for group in groups.values():
            yield from self._look_at(group)

    def _look_at(self, group: list[_Seen]) -> Iterator[None]:
        inputs = {name: np.concatenate([_some(seen.inputs[name]) for seen in group]) for name in group[0].inputs}
        yield
        sure = _NONE
        if self.card.scores is not None:
            name = self.card.scores.output
            sure = confidence(self.card.scores, {name: np.concatenate([_some(seen.outputs[name]) for seen in group])})
            self._tally.confidence += float(sure.sum())
            self._tally.confident += len(sure)
            self._confidence.update(sure)
            yield
        if self._reference is not None and self._window is not None and self._sketch is not None:
            sketch = self._reference.sketch(inputs, sure)
            yield
            self._sketch += sketch
            if self._window.add(sketch):
                yield
                self._drifting = self._window.far or self._confidence.fallen
        if self._sample_store is not None:
            yield
            self._offer(self._sample_store, group, inputs, sure)
        yield

    def _offer(self, sample_store: SampleStore, group: list[_Seen], inputs: Mapping[str, Array], sure: Array) -> None:
        """Offer one row of the group to be kept: a hard one, or any while inputs drift."""
        rows = len(next(iter(inputs.values())))
        hardness = 1.0 - sure if len(sure) == rows else np.full(rows, 0.5)
        wanted = np.ones(rows, np.bool_) if self._drifting else hardness > 1.0 - sample_store.hard
        best = sample_store.draw(np.where(wanted, hardness, 0.0))
        if best is None:
            return
        row, key = best
        seen, place = _origin(group, row)
        guess = int(classes(self.card.scores, seen.outputs)[place]) if self.card.scores is not None else 0
        notes = Notes(
            model=self.card.model,
            version=self.card.version,
            request=seen.request,
            row=place,
            why="drift" if self._drifting else "hard",
            guess=guess,
            confidence=float(1.0 - hardness[row]),
            key=key,
        )
        sample_store.offer({name: values[row].copy() for name, values in inputs.items()}, notes)


class _Counts:
    """A tally that is being counted."""

    def __init__(self) -> None:
        self.answers = self.rows = self.errors = self.offloaded = 0
        self.labels = self.correct = self.compared = self.agreed = self.confident = 0
        self.confidence = self.seconds = 0.0
        self.latency = [0] * (len(BUCKETS) + 1)

    def tally(self) -> Tally:
        return msgspec.convert(vars(self), Tally)


def _some(array: Array) -> Array:
    return array if len(array) <= BATCH else array[_places(len(array))]


def _places(rows: int) -> Array:
    return np.linspace(0, rows - 1, min(rows, BATCH)).astype(np.int64)


def _origin(group: list[_Seen], row: int) -> tuple[_Seen, int]:
    """The request that a row of a group came with, and its place there."""
    for seen in group:
        rows = len(next(iter(seen.outputs.values())))
        if row < min(rows, BATCH):
            return seen, int(_places(rows)[row])
        row -= min(rows, BATCH)
    raise AssertionError("a group has no more rows than its requests")

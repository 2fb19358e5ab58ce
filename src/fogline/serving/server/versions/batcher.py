"""Requests for a slow model, run in a thread: what comes while it is busy is run as one batch.

Nothing waits for a batch to fill: when the model is free it takes what there is.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from fogline.inference.runtimes.base import Array, ModelError, Run
from fogline.serving.server.versions.counts import Counts

Outputs = Mapping[str, Array]


@dataclass(slots=True, eq=False)
class _Entry:
    inputs: Mapping[str, Array]
    rows: int
    form: frozenset[tuple[str, tuple[int, ...]]]
    """Shapes without the batch: only equal ones can be joined."""
    future: asyncio.Future[Outputs]


class Batcher:
    """The queue before a model.

    Args:
        model: what runs it.
        pool: where it runs.
        largest: examples in a batch of several requests; 1 where requests cannot be joined.
        counts: where it is noted.
    """

    def __init__(self, model: Run, pool: Executor, largest: int, counts: Counts) -> None:
        self._model = model
        self._pool = pool
        self._largest = largest
        self._counts = counts
        self._queue: deque[_Entry] = deque()
        self._busy = False
        self._spent: list[int] = []
        """Nanoseconds of each run of the model since the last batch ended."""

    async def run(self, inputs: Mapping[str, Array], rows: int) -> Outputs:
        """Outputs for a request. If the caller is cancelled before its turn, the model does not run for it.

        Raises:
            ModelError: the model cannot.
        """
        form = frozenset((name, array.shape[1:]) for name, array in inputs.items())
        entry = _Entry(inputs, rows, form, asyncio.get_running_loop().create_future())
        self._queue.append(entry)
        if not self._busy:
            self._next()
        return await entry.future

    def _next(self) -> None:
        entries = self._take()
        self._busy = bool(entries)
        if entries:
            work = asyncio.get_running_loop().run_in_executor(self._pool, self._run, entries)
            work.add_done_callback(lambda done: self._done(entries, done))

    def _take(self) -> list[_Entry]:
        taken: list[_Entry] = []
        rows = 0
        while self._queue:
            entry = self._queue[0]
            if not entry.future.done():
                if taken and (entry.form != taken[0].form or rows + entry.rows > self._largest):
                    break
                taken.append(entry)
                rows += entry.rows
            self._queue.popleft()
        return taken

    def _run(self, entries: Sequence[_Entry]) -> list[Outputs | ModelError]:
        """In the thread: outputs, or the failure, of each."""
        if len(entries) == 1:
            return [self._alone(entries[0])]
        joined = {name: np.concatenate([entry.inputs[name] for entry in entries]) for name in entries[0].inputs}
        rows = [entry.rows for entry in entries]
        try:
            return _split(self._timed(joined), rows)
        except ModelError:
            return [self._alone(entry) for entry in entries]  # One of them is at fault, and only that one fails.

    def _alone(self, entry: _Entry) -> Outputs | ModelError:
        try:
            return self._timed(entry.inputs)
        except ModelError as error:
            return error

    def _timed(self, inputs: Mapping[str, Array]) -> Outputs:
        began = time.perf_counter_ns()
        outputs = self._model(inputs)
        self._spent.append(time.perf_counter_ns() - began)
        return outputs

    def _done(self, entries: Sequence[_Entry], work: asyncio.Future[list[Outputs | ModelError]]) -> None:
        for ns in self._spent:
            self._counts.ran(ns)
        self._spent.clear()
        error = work.exception()
        results = [error] * len(entries) if error is not None else work.result()
        for entry, result in zip(entries, results, strict=True):
            if entry.future.done():
                continue
            if isinstance(result, BaseException):
                entry.future.set_exception(result)
            else:
                entry.future.set_result(result)
        self._next()


def _split(outputs: Outputs, rows: Sequence[int]) -> list[Outputs | ModelError]:
    for name, array in outputs.items():
        if array.shape[:1] != (sum(rows),):
            raise ModelError(f"Output '{name}' has shape {list(array.shape)} for a batch of {sum(rows)}.")
    ends = np.cumsum(rows)[:-1]
    parts = {name: np.split(array, ends) for name, array in outputs.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(rows))]

"""A version that answers silently beside the one that is served, and is compared with it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor

import numpy as np

from fogline.inference.card import Card
from fogline.inference.confidence import classes
from fogline.inference.runtimes.base import Array
from fogline.serving.protocol.messages import InferenceRequest
from fogline.serving.server.versions.batcher import Outputs
from fogline.serving.server.versions.served import ServedModel

log = logging.getLogger("fogline.serving")


class Shadow:
    """Compares in a thread, one request at a time; those that come meanwhile are passed over and counted.

    Args:
        served: the shadow.
        pool: where it runs.
    """

    def __init__(self, served: ServedModel, pool: Executor) -> None:
        self.served = served
        self._pool = pool
        self._busy = False

    def offer(self, ask: InferenceRequest, outputs: Outputs) -> None:
        """A request that was answered, and what the answer was."""
        if self._busy:
            self.served.counts.dropped += ask.rows
        elif self.served.hold():
            self._busy = True
            work = asyncio.get_running_loop().run_in_executor(self._pool, self._compare, ask, outputs)
            work.add_done_callback(lambda done: self._done(ask, done))

    def _compare(self, ask: InferenceRequest, outputs: Outputs) -> int:
        return agreeing(self.served.card, outputs, self.served.run(ask.inputs), ask.rows)

    def _done(self, ask: InferenceRequest, work: asyncio.Future[int]) -> None:
        self._busy = False
        served = self.served
        if (error := work.exception()) is not None:
            served.counts.missed(0)
            log.warning("The shadow %s %s failed: %s", served.card.model, served.version, error)
            if served.watch is not None:
                served.watch.failed()
        else:
            served.counts.compared += ask.rows
            if served.watch is not None:
                served.watch.compared(work.result(), ask.rows)
        served.release()


def agreeing(card: Card, live: Outputs, shadow: Outputs, rows: int) -> int:
    """Examples on which two versions agree: the same class, or numbers within the card's tolerance."""
    if card.scores is not None:
        return int((classes(card.scores, live) == classes(card.scores, shadow)).sum())
    agreed = np.ones(rows, dtype=np.bool_)
    for tensor in card.answers:
        agreed &= _close(live[tensor.name], shadow[tensor.name], card.tolerance, rows)
    return int(agreed.sum())


def _close(one: Array, other: Array, tolerance: float, rows: int) -> Array:
    """Which rows are equal, up to the tolerance relative to the largest absolute value."""
    if one.shape != other.shape:
        return np.zeros(rows, dtype=np.bool_)
    near: Array = np.equal(one, other)
    if one.dtype.kind == "f":
        reach = tolerance * float(np.max(np.abs(one), initial=0.0))
        near = np.isclose(one, other, rtol=0.0, atol=reach, equal_nan=True)
    return np.asarray(near.reshape(rows, -1).all(axis=1))

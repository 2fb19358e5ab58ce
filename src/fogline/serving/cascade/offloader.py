"""The asking side of a cascade: rows that a model is unsure of are answered by the tier above, if that goes well."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from fogline.inference.card import Card
from fogline.inference.confidence import confidence
from fogline.inference.runtimes.base import Array
from fogline.registry.release import NodeKind
from fogline.serving.cascade.attempt import Failure, attempt
from fogline.serving.cascade.breaker import Breaker
from fogline.serving.cascade.wire import HOPS, LARGEST, OffloadedRows, Send, WireError, packed, read_answer, values

log = logging.getLogger("fogline.serving")

SHARE = 0.8
"""Of the time that a tier below gives us, so that our own answer still reaches it if the one above is silent."""
_HEADROOM = 4096
"""Bytes of an ask beside its tensors' numbers."""


class OffloadResult(NamedTuple):
    """Outputs for all rows, and who gave them."""

    outputs: Mapping[str, Array]
    tier: NodeKind
    """The highest that answered a row,"""
    model: str
    version: int
    """and its model and version."""
    offloaded: int = 0
    """Rows that a tier above answered."""
    why: str = ""
    """Why unsure rows were not all answered above: a sentence; empty where they were."""


class Offloader:
    """Asks the tier above about rows that this one is unsure of. No request ever fails by it.

    Args:
        card: of the version that is served here, with scores and a cascade.
        send: to the parent.
        breaker: for that model above, shared by all versions that ask it.
        consent: whether the owner of the data lets samples leave this machine; without it none does.
        deadline: seconds after which this tier's own answer stands.
        tier: of this machine.
        clock: seconds that only rise.
    """

    def __init__(
        self,
        card: Card,
        send: Send,
        breaker: Breaker,
        consent: bool = False,
        deadline: float = 0.3,
        tier: NodeKind = "device",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._card, self._send, self._breaker, self._clock = card, send, breaker, clock
        self._consent, self._deadline = consent, deadline
        self._tier: NodeKind = tier

    def unsure(self, outputs: Mapping[str, Array]) -> Array | None:
        """Places of the rows to ask about; None if there are none."""
        cascade, scores = self._card.cascade, self._card.scores
        if cascade is None or scores is None:
            return None
        sure = confidence(scores, outputs)
        if len(sure) == 1 and sure[0] >= cascade.threshold:
            return None
        rows = np.flatnonzero(sure < cascade.threshold)
        return rows if len(rows) else None

    async def improve(
        self,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        unsure: Array,
        left: float = float("inf"),
        hops: int = 0,
    ) -> OffloadResult:
        """The outputs, with the rows that the parent answered in their places.

        Args:
            inputs: of all rows.
            outputs: this tier's, of all rows; they are not changed.
            unsure: places of the rows to ask about.
            left: seconds within which whoever asked us needs the answer.
            hops: links that the request has come over.
        """
        seconds = min(self._deadline, SHARE * left)
        refusal = self._refusal(seconds, hops)
        if refusal:
            return self._own(outputs, refusal)
        rows = unsure[: _fitting(inputs)]
        if not len(rows):
            return self._own(outputs, f"A single sample is larger than the {LARGEST} bytes that one message may have.")
        try:
            ask = self._ask({name: array[rows] for name, array in inputs.items()}, seconds, hops)
        except WireError as error:
            return self._own(outputs, str(error))
        if not self._breaker.allows(began := self._clock()):
            return self._own(outputs, "The tier above has failed lately and is left alone for a while.")
        reply = await attempt(self._send(ask, seconds), seconds, "asking the tier above")
        if isinstance(reply, Failure):
            self._breaker.failed(self._clock())
            return self._own(outputs, f"Asking the tier above {reply.why}.")
        try:
            answer, better = read_answer(reply)
            if answer.refused:  # A client's bad inputs must not keep the others from that tier.
                self._breaker.succeeded(now := self._clock(), now - began)
                return self._own(outputs, f"The tier above takes no such inputs: {answer.error}")
            if not answer.error and not _finite(better) and _extreme(inputs, rows):
                self._breaker.succeeded(now := self._clock(), now - began)
                return self._own(outputs, "The tier above has no finite answer to such inputs.")
            merged = _merged(outputs, better, rows, answer.error)
        except WireError as error:
            self._breaker.failed(self._clock())
            return self._own(outputs, str(error))
        now = self._clock()
        self._breaker.succeeded(now, now - began)
        why = "" if len(rows) == len(unsure) else f"Only {len(rows)} of {len(unsure)} unsure rows fit into one message."
        return OffloadResult(merged, answer.tier, answer.model, answer.version, len(rows), why)

    def _refusal(self, seconds: float, hops: int) -> str:
        if self._card.cascade is None:
            return "The model has no larger one above it."
        if not self._consent:
            return "Samples may not leave this machine."
        if hops >= HOPS:
            return f"The request has come over {hops} links already."
        return "" if seconds > 0.001 else "There is no time left to ask the tier above."

    def _ask(self, inputs: Mapping[str, Array], seconds: float, hops: int) -> bytes:
        model = self._card.cascade.to if self._card.cascade is not None else ""
        return packed(
            OffloadedRows(model, secrets.token_hex(8), values(inputs), min(int(seconds * 1000), 600_000), hops + 1)
        )

    def _own(self, outputs: Mapping[str, Array], why: str) -> OffloadResult:
        return OffloadResult(outputs, self._tier, self._card.model, self._card.version, 0, why)


def _fitting(inputs: Mapping[str, Array]) -> int:
    """Rows that fit into one message, by their numbers; strings are seen when it is packed."""
    row = sum(array.nbytes // max(1, len(array)) for array in inputs.values())
    return (LARGEST - _HEADROOM) // max(1, row)


def _finite(outputs: Mapping[str, Array]) -> bool:
    return all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f")


def _extreme(inputs: Mapping[str, Array], rows: Array) -> bool:
    """Whether inputs have numbers whose squares overflow, or that are none: then no model need have an answer."""
    numbers = (array[rows] for array in inputs.values() if array.dtype.kind == "f")
    return any(not (np.abs(some) < np.sqrt(np.finfo(some.dtype).max)).all() for some in numbers)


def _merged(own: Mapping[str, Array], better: Mapping[str, Array], rows: Array, error: str) -> dict[str, Array]:
    """Our outputs with the answered rows in their places.

    Raises:
        WireError: the answer is none to what was asked.
    """
    if error:
        raise WireError(f"The tier above gave no answer: {error}")
    merged: dict[str, Array] = {}
    for name, array in own.items():
        found = better.get(name)
        if found is None or found.shape != (len(rows), *array.shape[1:]) or not _can_become(found, array):
            raise WireError(f"The tier above answered with no output '{name}' that fits to ours.")
        merged[name] = array.copy()
        merged[name][rows] = found
    return merged


def _can_become(found: Array, own: Array) -> bool:
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        return False
    return found.dtype.hasobject == own.dtype.hasobject and np.can_cast(found.dtype, own.dtype, "same_kind")

"""Whose fault it is that a model cannot answer a request: the client's, or the version's.

A version that cannot take what it should take must be given up; a client that sends a token id beyond the vocabulary
must not be able to bring that about. Two things tell them apart: the version's own golden sample, brought to the shape
of the request, and the version before, which is asked the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from threading import Lock

import numpy as np

from fogline.inference.card import Card
from fogline.inference.runtimes.base import Array, Locate, ModelError, Run, Runtime
from fogline.inference.runtimes.choose import sample_of

log = logging.getLogger("fogline.serving")


class Witness:
    """The version that was served before another: loaded when it is first asked. It may be asked by several threads.

    Args:
        card: of it.
        locate: where its files are.
        open_: loads it.
    """

    def __init__(self, card: Card, locate: Locate, open_: Callable[[Card, Locate], Runtime]) -> None:
        self._card, self._locate, self._open = card, locate, open_
        self._runtime: Runtime | None = None
        self._lock = Lock()
        self._gone = False

    def answers(self, inputs: Mapping[str, Array]) -> bool | None:
        """Whether it can answer a request; None if it cannot be asked any more."""
        with self._lock:
            try:
                if self._runtime is None and not self._gone:
                    self._runtime = self._open(self._card, self._locate)
            except (ModelError, OSError) as error:
                log.info("%s %s cannot be asked any more: %s", self._card.model, self._card.version, error)
                self._gone = True
            runtime = self._runtime
            return None if runtime is None else can_run(runtime.run, inputs)

    def close(self) -> None:
        """Let go of its memory."""
        with self._lock:
            self._gone = True
            if self._runtime is not None:
                self._runtime.close()
                self._runtime = None


def is_clients(card: Card, locate: Locate, run: Run, before: Witness | None, inputs: Mapping[str, Array]) -> bool:
    """Whether a request that a version could not answer is to blame for it.

    Args:
        card: of the version.
        locate: where its files are.
        run: runs it.
        before: the version before; None where there is none.
        inputs: of the request.
    """
    if not can_run(run, like(sample_of(card, locate), inputs)):
        return False
    return before is None or before.answers(inputs) is not True


def like(sample: Mapping[str, Array], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """A sample's values, repeated to the shapes of a request."""
    return {name: np.resize(sample[name], array.shape) for name, array in inputs.items()}


def can_run(run: Run, inputs: Mapping[str, Array]) -> bool:
    """Whether a model gives an answer."""
    try:
        run(inputs)
    except ModelError:
        return False
    return True

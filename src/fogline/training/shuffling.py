"""Which examples a device takes in which step. All engines of all backends follow this one rule."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Order = npt.NDArray[np.int64]


class Shuffler:
    """Draws orders by seed. One may be used for device after device: to make one costs more than to seed it."""

    def __init__(self) -> None:
        # Philox is keyed: to seed it is to set its key, without a mixing of bits as other generators need.
        self._bits = np.random.Philox(key=0)
        self._fresh = self._bits.state
        self._key = self._fresh["state"]["key"]
        self._generator = np.random.Generator(self._bits)

    def epochs(self, seed: int, examples: int, stride: int = 0) -> Iterator[Order]:
        """Endless reshuffled passes over a device's examples, (examples,) each.

        Ask for all that is needed of one device before asking for those of the next. ``stride``: how far on in the
        arrays the examples of the next pass lie, where they are others in each.
        """
        self._key[0] = seed & 0xFFFFFFFFFFFFFFFF  # The other half stays zero.
        self._bits.state = self._fresh
        offset = 0
        while True:
            order = self._generator.permutation(examples)
            yield order + offset if offset else order
            offset += stride


def cuts(examples: int, batch_size: int | None, smallest: int = 1) -> list[int]:
    """Where an epoch's batches end. The last one is ragged; with fewer examples than ``smallest``, it joins the one
    before it, if there is one.
    """
    size = batch_size or max(examples, 1)
    ends = [*range(size, examples, size), examples]
    alone = len(ends) > 1 and examples - ends[-2] < smallest
    return [*ends[:-2], examples] if alone else ends


def batches(
    seed: int, examples: int, batch_size: int | None, steps: int, smallest: int = 1, stride: int = 0
) -> Iterator[Order]:
    """The examples of each step: an epoch is cut into batches (:func:`cuts`); then a new epoch.

    ``stride``: see :meth:`Shuffler.epochs`.
    """
    ends = cuts(examples, batch_size, smallest)
    left = steps
    for order in Shuffler().epochs(seed, examples, stride):
        for start, stop in pairwise([0, *ends]):
            if left == 0:
                return
            yield order[start:stop]
            left -= 1

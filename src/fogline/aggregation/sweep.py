"""Passes over long vectors: block by block through the processor's cache, on a few threads.

Every number is worked on by itself, so neither the blocks nor the threads change a bit of the result.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 1 << 16
"""Numbers worked on at once: few enough for a core's share of the second-level cache, beside the vector and the sum,
enough to keep memory streaming."""
WORTH = 1 << 20
"""A thread gets at least so many numbers."""
THREADS = 4
"""More do not help: memory is then the limit. Set to 1 where the other cores are taken."""


class Scratch:
    """Room for intermediate results: a block for each thread, kept from pass to pass."""

    def __init__(self) -> None:
        self._rooms: list[npt.NDArray[Any]] = []

    def rooms(self, size: int, dtype: np.dtype[Any]) -> list[npt.NDArray[Any]]:
        """One block per thread of a sweep over so many numbers, (min(size, BLOCK),), with arbitrary content."""
        wanted, threads = min(size, BLOCK), threads_for(size)
        first = self._rooms[0] if self._rooms else None
        if first is None or first.size < wanted or first.dtype != dtype or len(self._rooms) < threads:
            self._rooms = [np.empty(wanted, dtype) for _ in range(threads)]
        return self._rooms


def sweep(size: int, work: Callable[[slice, int], None], length: int = 0, backwards: bool = False) -> None:
    """Call ``work(block, thread)`` on blocks that cover so many numbers; on several threads if there are many.

    ``length``: numbers of a block, if not the usual ones. ``backwards``: whether the last block comes first.

    Threads take block after block, so a helper that a busy machine starts late, or never, delays nobody. One
    that is interrupted within a block does: where all cores are taken, one thread is faster.
    """
    length = length or BLOCK
    if size <= length:  # Most models are small, and there may be a million updates of them.
        if size:
            work(slice(0, size), 0)
        return
    todo = deque(blocks(size, length))
    if backwards:
        todo.reverse()

    def run(thread: int) -> None:
        while True:
            try:
                block = todo.popleft()
            except IndexError:
                return
            work(block, thread)

    started = [_pool(os.getpid()).submit(run, i) for i in range(1, threads_for(size))]
    run(0)
    for helper in started:
        if not helper.cancel():
            helper.result()


def threads_for(size: int) -> int:
    """How many threads a sweep over so many numbers takes."""
    return min(THREADS, cores(), size // WORTH) if size >= 2 * WORTH else 1


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of that process: a forked one starts its own, for its parent's do not exist in it."""
    return ThreadPoolExecutor(THREADS, "fogline-fold")


def blocks(size: int, length: int) -> Iterator[slice]:
    """Slices of that length that cover so many numbers."""
    return (slice(low, min(low + length, size)) for low in range(0, size, length))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bound(vector: npt.NDArray[Any]) -> float:
    """A number that no magnitude in the vector exceeds; not finite if a number in it is not.

    It is the Euclidean norm where one fast pass gives it (a floating-point sum of squares never falls below
    its largest term), else the largest magnitude itself.
    """
    if vector.dtype.kind == "f" and vector.itemsize >= 4:
        total = sum_of_squares(vector)
        if 1e-30 < total < math.inf:  # nothing overflowed, and nothing that matters underflowed
            return math.sqrt(total) * 1.001
    return magnitude(vector)


def sum_of_squares(vector: npt.NDArray[Any]) -> float:
    """In the vector's own precision, so it may overflow to infinity."""
    if vector.size <= BLOCK:
        return float(np.vdot(vector, vector))  # Unlike np.dot, it overflows without a warning.
    squares: list[float] = []

    def work(block: slice, _: int) -> None:
        squares.append(float(np.vdot(vector[block], vector[block])))

    # What is read once needs no room in the cache, and long blocks leave less to do between them. Backwards: a vector
    # was written, and will be added, from its beginning, so that of one that is larger than the cache its end is found
    # there now, and its beginning next.
    sweep(vector.size, work, 4 * BLOCK, backwards=True)
    return sum(squares)


def magnitude(vector: npt.NDArray[Any]) -> float:
    """The largest magnitude in the vector; not finite if a number in it is not."""
    return max(-float(vector.min()), float(vector.max())) if vector.size else 0.0

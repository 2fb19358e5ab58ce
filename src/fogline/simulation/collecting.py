"""Python's garbage collector, which finds next to nothing in a simulation and has a million devices to look at."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

COLLECT_EVERY = 500_000
"""New objects between two looks of the garbage collector, which finds next to nothing: hardly any object of a run is
part of a cycle."""


@contextmanager
def rarely_collected() -> Generator[None]:
    """Let the collector look at what is made inside only, and seldom."""
    thresholds = gc.get_threshold()
    if thresholds[0] >= COLLECT_EVERY:  # The program that runs this has seen to it for all of its runs.
        yield
        return
    gc.collect()
    gc.freeze()  # What is there now stays; the collector need not look at it again and again.
    gc.set_threshold(COLLECT_EVERY, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()

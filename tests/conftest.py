"""What all tests share."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """The modules of all tests stay until the end: the garbage collector, which every simulation runs once, need not
    look at them again each time."""
    gc.collect()
    gc.freeze()

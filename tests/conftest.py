"""What all tests share."""

from __future__ import annotations

import gc

gc.disable()
"""While tests are collected, which makes hardly anything but modules."""


def pytest_collection_finish() -> None:
    """The modules of all tests stay until the end: the garbage collector need not look at them again each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)  # The usual 700 look at what PyTorch imports later again and again.
    gc.enable()

"""Memory that large requests took goes back to the system."""

from __future__ import annotations

import ctypes
import sys

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
LARGE = 128 << 10
"""Bytes from which on a piece of memory is one of its own, which is given back when it is freed."""


def be_thrifty() -> None:
    """Keep little memory in hand.

    By itself glibc raises the size from which on it gives memory back to the largest that was ever freed, and keeps a
    heap for every thread: after a few large requests a server would stay 8 MB larger. Other systems' C libraries are
    left alone.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
        library.mallopt(M_ARENA_MAX, 2)

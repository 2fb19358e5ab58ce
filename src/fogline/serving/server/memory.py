"""Memory that loading a model took goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache


def give_back() -> None:
    """Give back what was freed: glibc keeps some megabytes in hand. Other systems' C libraries are left alone."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if library is not None and hasattr(library, "malloc_trim") else None

"""PyTorch kept to one thread, by backends whether they import it or not."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def torch_on_one_thread() -> Generator[None]:
    """Keep PyTorch to one thread, if anything has imported it; afterwards it has as many as before."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""What a module may draw random numbers from: PyTorch's generator, NumPy's and Python's own."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def own_draws(seed: int | None = None) -> Generator[None]:
    """Inside, all generators begin at a seed, if one is given; afterwards they are as they were before."""
    before = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                random.seed(seed)
                np.random.seed(seed & 0xFFFFFFFF)
                torch.manual_seed(seed)
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def positions() -> tuple[Any, ...]:
    """Where the generators stand: two of these are equal if nothing was drawn between them."""
    numpys = np.random.get_state(legacy=False)
    return random.getstate(), repr(numpys), numpys["state"]["key"].tobytes(), torch.get_rng_state().numpy().tobytes()

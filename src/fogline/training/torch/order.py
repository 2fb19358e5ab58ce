"""Which examples a device takes in which step. All engines follow this one rule."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def epochs(seed: int, examples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless reshuffled passes over a device's examples: int64 (examples,) each.

    ``generator`` is scratch: seeding one is cheaper than making one.
    """
    generator.manual_seed(seed)
    while True:
        yield torch.randperm(examples, generator=generator)


def batches(seed: int, examples: int, batch_size: int | None, steps: int) -> Iterator[Tensor]:
    """The examples of each step: an epoch is cut into batches, the last one ragged; then a new epoch."""
    size = batch_size or examples
    left = steps
    for order in epochs(seed, examples, torch.Generator()):
        for batch in order.split(size)[:left]:
            yield batch
            left -= 1
        if left == 0:
            return

"""The weights of several devices at once, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from fogline.params import Entry
from fogline.training.torch.layout import as_tensor


class Blocks:
    """One contiguous tensor (K, *shape) per tensor of the model, for K devices.

    Tensor by tensor rather than device by device, because a batched product is fast only on contiguous
    memory, and the first k devices of every block are contiguous too. With one device, all blocks lie one
    after the other in one vector.
    """

    def __init__(self, entries: Sequence[Entry], clients: int, dtype: torch.dtype, device: torch.device) -> None:
        self._counts = [entry.count for entry in entries]
        self._clients = clients
        self.buffer = torch.empty(clients * sum(self._counts), dtype=dtype, device=device)
        parts = self.buffer.split([clients * count for count in self._counts])
        self.tensors = [part.view(clients, *e.shape) for part, e in zip(parts, entries, strict=True)]
        self._firsts = {clients: self.tensors}
        self._parts = [self.buffer.view(1, -1)] if clients == 1 else [flat(tensor) for tensor in self.tensors]

    def fill(self, rows: Tensor) -> None:
        """Take weights in: one row (P,) for all devices, or (K, P)."""
        if self._clients == 1:
            self.buffer.copy_(rows.view(-1))
            return
        for own, part in zip(self._parts, rows.split(self._counts, -1), strict=True):
            own.copy_(part)

    def parts(self) -> list[Tensor]:
        """(K, n) each: the weights of all devices, as the vector has them one after the other; views."""
        return self._parts.copy()

    def first(self, clients: int) -> list[Tensor]:
        """The blocks of the first k devices; the same list each time."""
        if clients not in self._firsts:
            self._firsts[clients] = [t[:clients] for t in self.tensors]
        return self._firsts[clients]


def flat(block: Tensor) -> Tensor:
    """A block (k, *shape) as (k, n), also where it has no elements or one per device."""
    return block.reshape(len(block), math.prod(block.shape[1:]))


def rows_of(tensors: Sequence[Tensor]) -> Tensor:
    """Blocks (k, *shape) to rows (k, P)."""
    return torch.cat([flat(tensor) for tensor in tensors], 1)


def split_rows(rows: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Rows (k, P) to blocks in the shapes of ``like``; views."""
    parts = rows.split([tensor[0].numel() for tensor in like], 1)
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]


def stack_rows(vectors: Sequence[npt.NDArray[Any]], device: torch.device) -> Tensor:
    """Vectors (n,) of several devices to rows (K, n), or to one row (n,) if all are the same object."""
    if all(vector is vectors[0] for vector in vectors):
        return as_tensor(vectors[0], device)
    return torch.stack([as_tensor(vector, device) for vector in vectors])

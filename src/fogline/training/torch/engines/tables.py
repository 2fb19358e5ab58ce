"""The table that all devices' examples are rows of, where they need not be copied device by device."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fogline.training.torch.task import TorchTask

TABLE_SHARE = 0.25
"""Of a GPU's free memory: what the examples of all devices may take to stay there."""
WIDEST = 8
"""Bytes of a number in the types that models take."""


def shared_table(task: TorchTask) -> tuple[Tensor, Tensor] | None:
    """The arrays that all devices' examples are rows of: on a GPU if they take little of it, else where the model takes
    them as they lie in memory."""
    table = task.data.table
    if table is None or not isinstance(table.x, np.ndarray):
        return None
    if not task.on_processor:
        room = torch.cuda.mem_get_info(task.device)[0] if task.device.type == "cuda" else 0
        numbers = table.x.size + table.y.size
        return (task.inputs(table.x), task.targets(table.y)) if numbers * WIDEST < room * TABLE_SHARE else None
    # To change them all would cost more than to copy those of a cohort.
    pairs = [(table.x, task.inputs(table.x[:1])), (table.y, task.targets(table.y[:1]))]
    fits = all(_lies_as(array, taken) for array, taken in pairs)
    return (torch.from_numpy(table.x), torch.from_numpy(table.y)) if fits else None


def _lies_as(array: npt.NDArray[Any], taken: Tensor) -> bool:
    """Whether a tensor over an array's memory is what the model takes, of which ``taken`` is the first row."""
    plain = array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    return plain and torch.from_numpy(array[:1]).dtype == taken.dtype and taken.shape == (1, *array.shape[1:])

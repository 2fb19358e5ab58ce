"""What is measured: models, sizes of devices, and the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from fogline.data import FederatedData, from_arrays
from fogline.training.torch import models

CLIENTS, EXAMPLES, PROCESSES, RATE = 20, 60, 2, 0.05
RAGGED = [int(size) for size in np.linspace(10, 120, CLIENTS)]
TOKENS, VOCABULARY = 40, 80


class Model(NamedTuple):
    """A model and the shape of its inputs; ``classes`` None marks sequences of tokens."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int | None = 10


MODELS = {
    "tiny": Model(lambda: models.mlp(32, (64, 32), 10), (32,)),
    "mlp": Model(models.mlp, (784,)),
    "lenet": Model(models.lenet, (1, 28, 28)),
    "cnn": Model(lambda: models.leaf_cnn(10, 512), (1, 28, 28)),
    "lstm": Model(lambda: models.char_lstm(VOCABULARY), (TOKENS,), None),
    "transformer": Model(lambda: models.small_transformer(VOCABULARY, length=TOKENS), (TOKENS,), None),
}


def data_of(model: Model, sizes: Sequence[int]) -> FederatedData:
    """Random examples."""
    rng, total = np.random.default_rng(0), sum(sizes)
    if model.classes is None:
        x: Any = rng.integers(0, VOCABULARY, (total, *model.shape))
        y: Any = np.roll(x, -1, -1)
    else:
        x = rng.normal(size=(total, *model.shape)).astype(np.float32)
        y = rng.integers(0, model.classes, total)
    parts = np.split(np.arange(total), np.cumsum(sizes)[:-1])
    return from_arrays("random", x, y, parts, classes=model.classes or VOCABULARY)

"""Clients that are alike."""

from __future__ import annotations

import numpy as np

from fogline.data.indices import Partition
from fogline.data.partitioners import PARTITIONERS
from fogline.data.partitioners.drawing import (
    Labels,
    Seed,
    count_of,
    even,
)


@PARTITIONERS.add("iid")
def iid(examples: int | Labels, n_clients: int, *, seed: Seed = 0) -> Partition:
    """Shuffle and deal out evenly; sizes differ by at most one.

    ``examples`` is their number, or any array of that length.

    Raises:
        ValueError: there are more clients than examples.
    """
    count = count_of(examples, n_clients)
    rows = np.random.default_rng(seed).permutation(count)
    return Partition(rows, even(count, n_clients))

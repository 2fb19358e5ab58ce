"""Clients that differ in size only."""

from __future__ import annotations

import numpy as np

from fogline.data.examples import Indices
from fogline.data.indices import Partition
from fogline.data.partitioners import PARTITIONERS
from fogline.data.partitioners.drawing import (
    Labels,
    Seed,
    count_of,
    divide,
    positive,
    until_large_enough,
)


@PARTITIONERS.add("quantity_skew")
def quantity_skew(
    examples: int | Labels, n_clients: int, *, alpha: float = 0.5, min_size: int = 1, seed: Seed = 0
) -> Partition:
    """Sizes drawn from Dirichlet(alpha); labels stay IID.

    Too small clients are treated as in `dirichlet`. Source: Li et al., 2022 (NIID-Bench, arXiv:2102.02079).

    Raises:
        ValueError: ``alpha`` is not positive, or the examples do not suffice for ``min_size`` each.
    """
    count = count_of(examples, n_clients, min_size)
    positive("alpha", alpha)
    rng = np.random.default_rng(seed)

    def draw() -> Indices:
        owner = np.empty(count, np.int64)
        owner[rng.permutation(count)] = divide(count, rng.dirichlet(np.full(n_clients, alpha)))
        return owner

    return Partition.from_owner(until_large_enough(draw, n_clients, min_size, rng), n_clients)

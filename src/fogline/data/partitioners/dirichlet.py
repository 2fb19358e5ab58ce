"""Label skew by shares that are drawn."""

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
    labels_of,
    positive,
    rows_by_class,
    until_large_enough,
)


@PARTITIONERS.add("dirichlet")
def dirichlet(labels: Labels, n_clients: int, *, alpha: float = 0.5, min_size: int = 1, seed: Seed = 0) -> Partition:
    """Label skew: each class is divided in proportions drawn from Dirichlet(alpha).

    A small ``alpha`` gives clients of few classes and unequal sizes; a large one comes close to IID. A draw
    that leaves a client with fewer than ``min_size`` examples is repeated, up to 50 times. If that does not
    help, or more than 20 clients fall short, the draw is repaired: random spare examples move to the clients
    that lack some, which makes the skew a little milder than ``alpha`` says.

    Source: Yurochkin et al., 2019 (arXiv:1905.12022); Hsu et al., 2019 (arXiv:1909.06335); Li et al., 2022
    (NIID-Bench, arXiv:2102.02079).

    Raises:
        ValueError: ``alpha`` is not positive, or the examples do not suffice for ``min_size`` each.
    """
    labels = labels_of(labels)
    count_of(labels, n_clients, min_size)
    positive("alpha", alpha)
    rng = np.random.default_rng(seed)
    by_class = rows_by_class(labels)

    def draw() -> Indices:
        owner = np.empty(len(labels), np.int64)
        for rows in by_class:
            owner[rng.permutation(rows)] = divide(len(rows), rng.dirichlet(np.full(n_clients, alpha)))
        return owner

    return Partition.from_owner(until_large_enough(draw, n_clients, min_size, rng), n_clients)

"""Label skew by pieces of the sorted examples."""

from __future__ import annotations

import numpy as np

from fogline.data.indices import Partition
from fogline.data.partitioners import PARTITIONERS
from fogline.data.partitioners.drawing import (
    Labels,
    Seed,
    at_least_one,
    count_of,
    even,
    labels_of,
)


@PARTITIONERS.add("shards")
def shards(labels: Labels, n_clients: int, *, shards_per_client: int = 2, seed: Seed = 0) -> Partition:
    """Sort by label, cut into equal shards, give each client some at random.

    Source: McMahan et al., 2017 (arXiv:1602.05629), section 3.

    Raises:
        ValueError: there are fewer examples than shards.
    """
    labels = labels_of(labels)
    count_of(labels, n_clients, shards_per_client)
    at_least_one("shards_per_client", shards_per_client)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    pieces = n_clients * shards_per_client
    shard_owner = np.empty(pieces, np.int64)
    shard_owner[rng.permutation(pieces)] = np.repeat(np.arange(n_clients), shards_per_client)
    owner = np.empty(len(labels), np.int64)
    owner[ordered] = np.repeat(shard_owner, np.diff(even(len(labels), pieces)))
    return Partition.from_owner(owner, n_clients)

"""Label skew by a number of classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.data.indices import Partition
from fogline.data.partitioners import PARTITIONERS
from fogline.data.partitioners.drawing import (
    Labels,
    Seed,
    at_least_one,
    count_of,
    labels_of,
    rows_by_class,
)


@PARTITIONERS.add("classes_per_client")
def classes_per_client(labels: Labels, n_clients: int, *, classes: int = 2, seed: Seed = 0) -> Partition:
    """Each client has that many classes: class ``i % K`` for client i, and others at random.

    A class is divided equally among its owners. With fewer clients than classes some classes may have no
    owner; their examples are then left out. Source: Li et al., 2022 (NIID-Bench ``#C=k``, arXiv:2102.02079).

    Raises:
        ValueError: there are fewer than ``classes`` classes, or a client would get no example.
    """
    labels = labels_of(labels)
    count_of(labels, n_clients)
    at_least_one("classes", classes)
    by_class = rows_by_class(labels)
    if classes > len(by_class):
        raise ValueError(f"A client cannot have {classes} classes: the data has {len(by_class)}.")
    rng = np.random.default_rng(seed)
    owns = _choose_classes(n_clients, len(by_class), classes, rng)
    owner = np.full(len(labels), -1, np.int64)
    for k, rows in enumerate(by_class):
        owners = np.flatnonzero(owns[:, k])
        if len(owners):
            turn = np.arange(len(rows)) * len(owners) // len(rows)
            owner[rng.permutation(rows)] = rng.permutation(owners)[turn] if len(rows) < len(owners) else owners[turn]
    partition = Partition.from_owner(owner, n_clients)
    _refuse_empty(partition, f"with {classes} classes per client")
    return partition


def _choose_classes(n_clients: int, n_classes: int, each: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(clients, classes) True where a client owns a class."""
    lots = rng.random((n_clients, n_classes), np.float32)
    clients = np.arange(n_clients)
    lots[clients, clients % n_classes] = -1.0
    chosen = np.argpartition(lots, each - 1, axis=1)[:, :each]
    owns = np.zeros((n_clients, n_classes), np.bool_)
    owns[clients[:, None], chosen] = True
    return owns


def _refuse_empty(partition: Partition, circumstance: str) -> None:
    empty = np.flatnonzero(partition.sizes == 0)
    if len(empty):
        raise ValueError(
            f"Client {empty[0]} of {len(partition)} would get no example {circumstance}: take fewer clients."
        )

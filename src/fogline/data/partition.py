"""Ways to spread the examples of one data set over many clients.

Every function is pure: the same arguments and seed give the same partition, and every example goes to exactly
one client unless the function says otherwise. ``seed`` is a whole number >= 0 or a numpy generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fogline.data.examples import Indices
from fogline.data.indices import Partition

Seed = int | np.random.Generator
Labels = npt.ArrayLike

RETRIES = 50
"""Draws that may fail to give every client its smallest size before the last one is repaired."""

HOPELESS = 20
"""With more clients than this below their smallest size, another draw would fail too: repair at once."""


def iid(examples: int | Labels, n_clients: int, *, seed: Seed = 0) -> Partition:
    """Shuffle and deal out evenly; sizes differ by at most one.

    ``examples`` is their number, or any array of that length.

    Raises:
        ValueError: there are more clients than examples.
    """
    count = _count(examples, n_clients)
    rows = np.random.default_rng(seed).permutation(count)
    return Partition(rows, _even(count, n_clients))


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
    labels = _labels(labels)
    _count(labels, n_clients, min_size)
    _positive("alpha", alpha)
    rng = np.random.default_rng(seed)
    by_class = _rows_by_class(labels)

    def draw() -> Indices:
        owner = np.empty(len(labels), np.int64)
        for rows in by_class:
            owner[rng.permutation(rows)] = _divide(len(rows), rng.dirichlet(np.full(n_clients, alpha)))
        return owner

    return Partition.from_owner(_until_large_enough(draw, n_clients, min_size, rng), n_clients)


def shards(labels: Labels, n_clients: int, *, shards_per_client: int = 2, seed: Seed = 0) -> Partition:
    """Sort by label, cut into equal shards, give each client some at random.

    Source: McMahan et al., 2017 (arXiv:1602.05629), section 3.

    Raises:
        ValueError: there are fewer examples than shards.
    """
    labels = _labels(labels)
    _count(labels, n_clients, shards_per_client)
    _at_least_one("shards_per_client", shards_per_client)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    pieces = n_clients * shards_per_client
    shard_owner = np.empty(pieces, np.int64)
    shard_owner[rng.permutation(pieces)] = np.repeat(np.arange(n_clients), shards_per_client)
    owner = np.empty(len(labels), np.int64)
    owner[ordered] = np.repeat(shard_owner, np.diff(_even(len(labels), pieces)))
    return Partition.from_owner(owner, n_clients)


def classes_per_client(labels: Labels, n_clients: int, *, classes: int = 2, seed: Seed = 0) -> Partition:
    """Each client has that many classes: class ``i % K`` for client i, and others at random.

    A class is divided equally among its owners. With fewer clients than classes some classes may have no
    owner; their examples are then left out. Source: Li et al., 2022 (NIID-Bench ``#C=k``, arXiv:2102.02079).

    Raises:
        ValueError: there are fewer than ``classes`` classes, or a client would get no example.
    """
    labels = _labels(labels)
    _count(labels, n_clients)
    _at_least_one("classes", classes)
    by_class = _rows_by_class(labels)
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


def quantity_skew(
    examples: int | Labels, n_clients: int, *, alpha: float = 0.5, min_size: int = 1, seed: Seed = 0
) -> Partition:
    """Sizes drawn from Dirichlet(alpha); labels stay IID.

    Too small clients are treated as in `dirichlet`. Source: Li et al., 2022 (NIID-Bench, arXiv:2102.02079).

    Raises:
        ValueError: ``alpha`` is not positive, or the examples do not suffice for ``min_size`` each.
    """
    count = _count(examples, n_clients, min_size)
    _positive("alpha", alpha)
    rng = np.random.default_rng(seed)

    def draw() -> Indices:
        owner = np.empty(count, np.int64)
        owner[rng.permutation(count)] = _divide(count, rng.dirichlet(np.full(n_clients, alpha)))
        return owner

    return Partition.from_owner(_until_large_enough(draw, n_clients, min_size, rng), n_clients)


def by_natural_id(ids: npt.ArrayLike) -> Partition:
    """One client per distinct id (a writer, a machine, a site); clients in the order of their sorted ids.

    ``ids`` (n,) says whose each example is; numbers become their decimal strings.

    Raises:
        ValueError: ``ids`` is empty or not one-dimensional.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"Natural ids must be one per example, not of shape {array.shape}.")
    names, owner = np.unique(array, return_inverse=True)
    return Partition.from_owner(owner, len(names), [str(name) for name in names.tolist()])


PARTITIONERS: dict[str, Callable[..., Partition]] = {
    "iid": iid,
    "dirichlet": dirichlet,
    "shards": shards,
    "classes_per_client": classes_per_client,
    "quantity_skew": quantity_skew,
}
"""The partitioners that take labels, by name."""


def _count(examples: int | Labels, n_clients: int, min_size: int = 1) -> int:
    count = int(examples) if isinstance(examples, int) else len(np.asarray(examples))
    if n_clients < 1:
        raise ValueError(f"There must be at least one client, not {n_clients}.")
    if count < n_clients * max(min_size, 1):
        each = f"at least {min_size} each" if min_size > 1 else "one each"
        raise ValueError(f"{count} examples do not suffice for {n_clients} clients with {each}.")
    return count


def _labels(labels: Labels) -> npt.NDArray[np.integer]:
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise ValueError(f"Labels must be one whole number per example, not {array.dtype} of shape {array.shape}.")
    return array


def _positive(name: str, value: float) -> None:
    if not (value > 0 and np.isfinite(value)):
        raise ValueError(f"{name} must be a positive number, not {value}.")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}.")


def _even(count: int, parts: int) -> Indices:
    """Offsets of ``parts`` runs whose lengths differ by at most one."""
    return np.arange(parts + 1, dtype=np.int64) * count // parts


def _rows_by_class(labels: npt.NDArray[np.integer]) -> list[Indices]:
    _, codes = np.unique(labels, return_inverse=True)
    return list(Partition.from_owner(codes, int(codes.max()) + 1))


def _divide(count: int, shares: npt.NDArray[np.float64]) -> Indices:
    """Owner of each of ``count`` places when owners get them in these shares."""
    ends = np.rint(np.cumsum(shares) * count).astype(np.int64)
    ends[-1] = count
    return np.repeat(np.arange(len(shares)), np.diff(ends, prepend=0))


def _until_large_enough(
    draw: Callable[[], Indices], n_clients: int, min_size: int, rng: np.random.Generator
) -> Indices:
    owner = draw()
    for _ in range(RETRIES):
        short = np.count_nonzero(np.bincount(owner, minlength=n_clients) < min_size)
        if short == 0:
            return owner
        if short > HOPELESS:
            break
        owner = draw()
    return _repair(owner, n_clients, min_size, rng)


def _repair(owner: Indices, n_clients: int, min_size: int, rng: np.random.Generator) -> Indices:
    """Move random examples from clients that can spare them to those with fewer than ``min_size``."""
    sizes = np.bincount(owner, minlength=n_clients)
    lack = np.maximum(min_size - sizes, 0)
    shuffled = rng.permutation(len(owner))
    grouped = shuffled[np.argsort(owner[shuffled], kind="stable")]
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    spare = grouped[rank >= min_size]
    repaired = owner.copy()
    repaired[rng.choice(spare, int(lack.sum()), replace=False)] = np.repeat(np.arange(n_clients), lack)
    return repaired


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

"""What partitioners draw and check."""

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


def count_of(examples: int | Labels, n_clients: int, min_size: int = 1) -> int:
    """The number of examples, where they suffice.

    Raises:
        ValueError: there are too few for so many clients.
    """
    count = int(examples) if isinstance(examples, int) else len(np.asarray(examples))
    if n_clients < 1:
        raise ValueError(f"There must be at least one client, not {n_clients}.")
    if count < n_clients * max(min_size, 1):
        each = f"at least {min_size} each" if min_size > 1 else "one each"
        raise ValueError(f"{count} examples do not suffice for {n_clients} clients with {each}.")
    return count


def labels_of(labels: Labels) -> npt.NDArray[np.integer]:
    """Labels as an array.

    Raises:
        ValueError: they are no whole numbers, one per example.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise ValueError(f"Labels must be one whole number per example, not {array.dtype} of shape {array.shape}.")
    return array


def positive(name: str, value: float) -> None:
    """Refuse what is no positive number.

    Raises:
        ValueError: it is none.
    """
    if not (value > 0 and np.isfinite(value)):
        raise ValueError(f"{name} must be a positive number, not {value}.")


def at_least_one(name: str, value: int) -> None:
    """Refuse what is below one.

    Raises:
        ValueError: it is.
    """
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}.")


def even(count: int, parts: int) -> Indices:
    """Offsets of ``parts`` runs whose lengths differ by at most one."""
    return np.arange(parts + 1, dtype=np.int64) * count // parts


def rows_by_class(labels: npt.NDArray[np.integer]) -> list[Indices]:
    """The rows of each class."""
    _, codes = np.unique(labels, return_inverse=True)
    return list(Partition.from_owner(codes, int(codes.max()) + 1))


def divide(count: int, shares: npt.NDArray[np.float64]) -> Indices:
    """Owner of each of ``count`` places when owners get them in these shares."""
    ends = np.rint(np.cumsum(shares) * count).astype(np.int64)
    ends[-1] = count
    return np.repeat(np.arange(len(shares)), np.diff(ends, prepend=0))


def until_large_enough(draw: Callable[[], Indices], n_clients: int, min_size: int, rng: np.random.Generator) -> Indices:
    """The owners of a draw that gives every client its smallest size, or of one that was repaired to do so."""
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

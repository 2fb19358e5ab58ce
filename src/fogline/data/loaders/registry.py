"""The data sets that can be loaded by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fogline.data.dataset import FederatedData
from fogline.data.loaders.folder import DatasetFolder, find_root
from fogline.data.partitioners import PARTITIONERS
from fogline.data.raw import RawData, partition_options, refuse_unknown
from fogline.plugins import Registry

Read = Callable[..., RawData]


@dataclass(frozen=True)
class Loader:
    """How a data set is read."""

    read: Read
    source: str
    """Where the public can get it."""

    @property
    def options(self) -> set[str]:
        """Names of what may be asked of it."""
        return {p.name for p in inspect.signature(self.read).parameters.values() if p.kind is p.KEYWORD_ONLY}


LOADERS = Registry[Loader]("data set", "fogline.data.loaders")
"""The data sets."""


def dataset(name: str, summary: str, *, source: str) -> Callable[[Read], Read]:
    """Register ``read(folder, *, option=...) -> RawData`` under a name.

    ``summary`` is one line for people; ``source`` is the public name of the set, for who has to get it.
    """

    def register(read: Read) -> Read:
        LOADERS.put(name, Loader(read, source), read, summary)
        return read

    return register


def datasets() -> dict[str, str]:
    """Names of the data sets, with one line about each."""
    return {name: LOADERS.summary(name) for name in sorted(LOADERS)}


def load_raw(name: str, *, root: str | os.PathLike[str] | None = None, **options: Any) -> RawData:
    """Read a data set without dividing it among clients.

    Raises:
        ValueError: there is no such data set or option.
        MissingDatasetError: its files are not on this machine.
        MissingPackageError: it needs a package that is not installed.
    """
    found = LOADERS.find(name)
    loader = found.thing
    refuse_unknown(options, loader.options, f"data set '{found.name}'")
    return loader.read(DatasetFolder(found.name, loader.source, find_root(root)), **options)


def load(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    partition: str | None = None,
    clients: int | None = None,
    seed: int = 0,
    **options: Any,
) -> FederatedData:
    """Read a data set and divide it among clients.

    Args:
        name: one of `datasets`.
        root: folder with one folder per data set; else ``$FOGLINE_DATA``, else ``../shared/data``.
        partition: ``"natural"`` or a partitioner (see `RawData.split`). None takes the natural clients where
            there are any, and else Dirichlet label skew.
        clients: number of clients of a partition that is not natural (100).
        seed: seeds the partition. The test set does not depend on it.
        options: those of the loader and of the partition (``flat=True``, ``alpha=0.1``).

    Raises:
        ValueError, MissingDatasetError, MissingPackageError: as `load_raw` and `RawData.split`.
    """
    own = LOADERS.find(name).thing.options
    every = {option for known in (*PARTITIONERS, "feature_noise") for option in partition_options(known)}
    refuse_unknown(options, own | every, f"data set '{name}'")
    raw = load_raw(name, root=root, **{key: value for key, value in options.items() if key in own})
    rest = {key: value for key, value in options.items() if key not in own}
    return raw.split(partition, clients=clients, seed=seed, **rest)

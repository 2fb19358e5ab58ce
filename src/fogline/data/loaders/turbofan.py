"""NASA C-MAPSS: remaining useful life of turbofan engines."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import numpy as np

from fogline.data.examples import Array, Examples
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import at_least, flatten, windows
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

SENSORS = (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21)
"""Sensors that change over an engine's life (numbered from 1)."""

FLEETS = ("FD001", "FD003")


@dataset(
    "cmapss",
    "remaining life of 200 turbofan engines, windows 14x30; clients are engines, groups are 2 fleets",
    source="the NASA Prognostics Data Repository, Turbofan Engine Degradation Simulation",
)
def cmapss(folder: DatasetFolder, *, window: int = 30, cap: int = 125, flat: bool = False) -> RawData:
    """Windows (n, 14, window) of the last cycles, and the cycles left, at most ``cap``, divided by ``cap``.

    Sensors are scaled by the mean and deviation of all training rows. The test set is the last window of each
    of the 200 test engines, with the same cap; a history that is too short is filled with its first row.
    Sources: Saxena et al., PHM 2008; the cap: Heimes, PHM 2008.
    """
    at_least("window", window)
    at_least("cap", cap)
    tables = {fleet: _table(folder, f"train_{fleet}.txt.gz") for fleet in FLEETS}
    whole = np.concatenate(list(tables.values()))
    columns = np.array(SENSORS) + 4
    mean, std = whole[:, columns].mean(axis=0), whole[:, columns].std(axis=0)

    def scaled(table: Array) -> Array:
        return ((table[:, columns] - mean) / std).astype(np.float32)

    engine = np.concatenate([_engines(fleet, table) for fleet, table in tables.items()])
    shortest = int(np.unique(engine, return_counts=True)[1].min())
    if window > shortest:
        raise ValueError(f"window must be at most {shortest}, the shortest engine life, not {window}.")
    x = windows(scaled(whole), window)
    last = engine[window - 1 :]
    life = _remaining(engine)[window - 1 :]
    return RawData(
        "cmapss",
        x.reshape(len(x), -1) if flat else x,
        (np.minimum(life, cap) / cap).astype(np.float32),
        Meaning(None, target_scale=float(cap), target_unit="cycles"),
        test=_test(folder, scaled, window, cap, flat),
        rows=np.flatnonzero(engine[: len(last)] == last),
        owner=last,
        groups={name: name.split("-")[0] for name in np.unique(engine).tolist()},
    )


def _table(folder: DatasetFolder, name: str) -> Array:
    with gzip.open(folder.file(name), "rt") as file:
        return np.loadtxt(file)


def _engines(fleet: str, table: Array) -> Array:
    return np.array([f"{fleet}-{unit:03d}" for unit in table[:, 0].astype(int).tolist()])


def _remaining(engine: Array) -> Array:
    """Rows left until an engine's last one; the rows of an engine stand together."""
    ends = np.append(np.flatnonzero(engine[1:] != engine[:-1]), len(engine) - 1)
    rows = np.arange(len(engine))
    return ends[np.searchsorted(ends, rows)] - rows


def _test(folder: DatasetFolder, scaled: Callable[[Array], Array], window: int, cap: int, flat: bool) -> Examples:
    x: list[Array] = []
    y: list[Array] = []
    for fleet in FLEETS:
        table = _table(folder, f"test_{fleet}.txt.gz")
        y.append(np.loadtxt(folder.file(f"RUL_{fleet}.txt")))
        values, units = scaled(table), table[:, 0]
        for unit in np.unique(units):
            rows = values[units == unit][-window:]
            x.append(np.pad(rows, ((window - len(rows), 0), (0, 0)), mode="edge").T)
    stacked = np.stack(x)
    left = np.minimum(np.concatenate(y), cap) / cap
    return Examples(flatten(stacked) if flat else stacked, left.astype(np.float32))

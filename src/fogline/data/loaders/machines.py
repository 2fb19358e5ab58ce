"""Tables of machine and process states: AI4I 2020 failures, Tennessee Eastman faults."""

from __future__ import annotations

import csv
import io

import numpy as np

from fogline.data.examples import Array, Examples
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import at_least, flatten, one_hot, random_test, standardised, windows
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

TYPES = ("L", "M", "H")

FAULTS = {
    "step": range(1, 8),
    "random-variation": range(8, 13),
    "slow-drift": range(13, 14),
    "sticking-valve": range(14, 16),
    "unknown": range(16, 21),
    "constant-position": range(21, 22),
}
"""Kinds of Tennessee Eastman faults (Downs and Vogel, 1993, table 8)."""

BEFORE_FAULT = 160
"""Rows of a test file before its fault begins."""


@dataset(
    "ai4i2020",
    "10000 machine states, failure or not (339); clients are 3 product types",
    source="UCI AI4I 2020 Predictive Maintenance (UCI id 601)",
)
def ai4i2020(folder: DatasetFolder, *, derived: bool = False) -> RawData:
    """Rows of 8 features: air and process temperature, speed, torque, tool wear, and the type as one of three.

    ``derived`` puts three more behind the five readings, which its author made failures by: the process's
    temperature above the air's, torque times speed (power), torque times tool wear (strain).

    A fifth of each class and type is the test set. The causes of failure are left out: they give the label
    away. Source: Matzka, AI4I 2020.
    """
    with folder.text("ai4i2020.csv.gz") as file:
        table = list(csv.reader(file))[1:]
    kind = np.array([TYPES.index(row[2]) for row in table])
    y = np.array([int(row[8]) for row in table], np.int64)
    train, test = random_test(kind * 2 + y)
    readings = np.array([row[3:8] for row in table], np.float64)
    if derived:
        air, process, speed, torque, wear = readings.T
        readings = np.column_stack([readings, process - air, torque * speed, torque * wear])
    x = np.concatenate([standardised(readings, train), one_hot(kind, 3)], axis=1).astype(np.float32)
    owner = np.array([f"type-{TYPES[k]}" for k in kind.tolist()])
    meaning = Meaning(2, ("works", "fails"))
    return RawData("ai4i2020", x, y, meaning, test=Examples(x[test], y[test]), rows=train, owner=owner)


@dataset(
    "tep",
    "Tennessee Eastman process, 52 variables, normal and 21 faults; clients are 6 kinds of fault",
    source="camaramm/tennessee-eastman-profBraatz on GitHub",
)
def tep(folder: DatasetFolder, *, window: int = 1, flat: bool = False) -> RawData:
    """Rows (n, 52), or with ``window`` > 1 windows (n, 52, window), and the fault 0..21 (0 = normal).

    A client has the faults of one kind and a sixth of the normal rows. From a test file with a fault, the
    rows before the fault are left out. Variables are scaled by the training rows.
    Sources: Downs and Vogel, 1993; Chiang, Russell and Braatz, 2001.
    """
    at_least("window", window)
    files = {name: np.loadtxt(io.BytesIO(text)) for name, text in folder.members("tep_braatz.tar.xz", ".dat")}
    files["d00.dat"] = files["d00.dat"].T
    train = [files[f"d{fault:02d}.dat"] for fault in range(22)]
    test = [files[f"d{fault:02d}_te.dat"][BEFORE_FAULT if fault else 0 :] for fault in range(22)]
    shortest = min(map(len, train))
    if window > shortest:
        raise ValueError(f"window must be at most {shortest} rows, not {window}.")
    whole = np.concatenate(train)
    mean, std = whole.mean(axis=0), whole.std(axis=0)
    x, y = _cut([(part - mean) / std for part in train], window, flat)
    test_examples = Examples(*_cut([(part - mean) / std for part in test], window, flat))
    names = ("normal", *(f"fault {fault}" for fault in range(1, 22)))
    return RawData("tep", x, y, Meaning(22, names), test=test_examples, owner=_kinds(y))


def _cut(parts: list[Array], window: int, flat: bool) -> tuple[Array, Array]:
    cut = [windows(part, window) for part in parts]
    x = np.concatenate(cut).astype(np.float32)
    y = np.repeat(np.arange(len(cut)), [len(part) for part in cut])
    return (flatten(x) if flat or window == 1 else x), y


def _kinds(fault: Array) -> Array:
    """The client of each row; normal rows go to the clients in turn, in runs of time."""
    kinds = list(FAULTS)
    of_fault = {number: kind for kind, numbers in FAULTS.items() for number in numbers}
    normal = int(np.count_nonzero(fault == 0))
    turns = [kinds[i * len(kinds) // normal] for i in range(normal)]
    return np.array(turns + [of_fault[number] for number in fault[normal:].tolist()])

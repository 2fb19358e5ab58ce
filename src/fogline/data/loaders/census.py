"""People and their income: rows of the census of the United States in 1994."""

from __future__ import annotations

import csv

import numpy as np

from fogline.data.examples import Array, Examples
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import choose, one_hot, standardised
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

NUMBERS = {"age": 0, "education": 4, "hours": 12, "gain": 10, "loss": 11}
"""Columns that are numbers; of the last two, which are mostly 0, the logarithm is taken."""
KINDS = {"workclass": 1, "marital-status": 5, "occupation": 6, "relationship": 7, "race": 8, "sex": 9, "country": 13}
"""Columns that are kinds."""
INCOME = 14


@dataset(
    "adult",
    "48842 people of the 1994 census, income above 50000 dollars or not; clients are 15 occupations",
    source="UCI Adult (UCI id 2), files adult.data and adult.test as csv",
)
def adult(folder: DatasetFolder, *, by: str = "occupation") -> RawData:
    """Rows of 91 features of a person, and whether the income is above 50,000 dollars; the official test set.

    They are age, years of education, hours a week and the logarithms of capital gain and loss, scaled by the training
    rows; then workclass, marital status, occupation, relationship, race, sex and country, each as one of several, of
    which "unknown" is one. Left out are how many people a row stands for, and the education's name, which its years say
    too. ``by`` makes clients of each ``"occupation"`` or ``"workclass"``. Source: Kohavi, KDD 1996.
    """
    choose("by", by, ("occupation", "workclass"))
    train, test = (_table(folder, f"adult-{part}.csv.gz") for part in ("train", "test"))
    table = np.concatenate([train, test])
    numbers = table[:, list(NUMBERS.values())].astype(np.float64)
    numbers[:, 3:] = np.log1p(numbers[:, 3:])
    kinds = [_as_one_of(table[:, column]) for column in KINDS.values()]
    x = np.concatenate([standardised(numbers, slice(len(train))), *kinds], axis=1).astype(np.float32)
    y = np.char.startswith(table[:, INCOME], ">").astype(np.int64)
    return RawData(
        "adult",
        x[: len(train)],
        y[: len(train)],
        Meaning(2, ("at most 50000", "above 50000")),
        test=Examples(x[len(train) :], y[len(train) :]),
        owner=train[:, KINDS[by]],
    )


def _table(folder: DatasetFolder, name: str) -> Array:
    """(n, 15) texts; what is not known is "unknown"."""
    with folder.text(name) as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if row]
    table = np.array(rows)
    return np.where(table == "?", "unknown", table)


def _as_one_of(column: Array) -> Array:
    names, codes = np.unique(column, return_inverse=True)
    return one_hot(codes, len(names))

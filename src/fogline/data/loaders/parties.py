"""Tables that are cut into the rows of several parties, as the FATE project publishes them."""

from __future__ import annotations

import numpy as np

from fogline.data.examples import Array, Examples
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import choose
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

PARTIES = {
    "breast": ("guest", "host"),
    "default_credit": ("guest", "host_1", "host_2"),
}
CLASSES = {
    "breast": ("malignant", "benign"),
    "default_credit": ("pays", "defaults"),
}


@dataset(
    "fate_examples",
    "569 tumours or 30000 credit cards, 2 classes; clients are the 2 or 3 parties that the tables are cut into",
    source="FederatedAI/FATE on GitHub, examples/data",
)
def fate_examples(folder: DatasetFolder, *, table: str = "breast") -> RawData:
    """Rows of 30 features of a cell nucleus and whether the tumour is benign; or, with ``table="default_credit"``, of
    23 features of a card's holder and bills and whether the next one is not paid.

    Features are scaled as in the source; the test set is its file of that name. Sources: Street, Wolberg and
    Mangasarian, 1993; Yeh and Lien, Expert Systems with Applications 36(2), 2009.
    """
    choose("table", table, tuple(PARTIES))
    parts = {party: _rows(folder, f"{table}_homo_{party}.csv.gz") for party in PARTIES[table]}
    test = _rows(folder, f"{table}_homo_test.csv.gz")
    x, y = (np.concatenate([part[i] for part in parts.values()]) for i in (0, 1))
    return RawData(
        "fate_examples",
        x,
        y,
        Meaning(2, CLASSES[table]),
        test=Examples(*test),
        owner=np.repeat(list(parts), [len(part[1]) for part in parts.values()]),
    )


def _rows(folder: DatasetFolder, name: str) -> tuple[Array, Array]:
    """Features (n, k) and labels (n,) of a file whose columns are an id, the label, and the features."""
    with folder.text(name) as file:
        table = np.loadtxt(file, delimiter=",", skiprows=1)
    return table[:, 2:].astype(np.float32), table[:, 1].astype(np.int64)

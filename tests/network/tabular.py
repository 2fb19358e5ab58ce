"""A task that learns from a table of the site's: in the tests of what it sees of that."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from fogline.data import Examples, from_clients
from tests.network.small import Troubled


def task(patients: str, trace: str = "", clients: int = 1) -> Troubled:
    """A toy whose examples are of no matter; ``trace``: takes what the table says."""
    text = Path(patients).read_text()
    if trace:
        Path(trace).write_text(f"{patients}\n{text}")
    rows = list(csv.DictReader(text.splitlines()))
    made = Troubled(clients, -1, -1, -1, 0.0, "", -1)
    assert all(float(row["age"]) >= 0 for row in rows)
    x = np.zeros((max(1, len(rows)), 4), np.float32)
    one = Examples(x, np.zeros(len(x), np.int64))
    made.data = from_clients("patients", {f"client-{i}": one for i in range(clients)}, classes=3, test=one)
    return made

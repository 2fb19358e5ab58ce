"""Tables in files: named columns of equal length, as CSV (UTF-8, with a header) or NPZ (one array for each column)."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from fogline.data.inputs import Array
from fogline.errors import InputError
from fogline.storage.atomic import PRIVATE, write_file

Columns = dict[str, Array]
"""Arrays (n, ...) by name; those of a CSV file are texts (n,)."""
KINDS = (".csv", ".npz")


class SiteTableError(InputError, ValueError):
    """A table of a site that cannot be read, or to which its rules cannot be applied. The text holds no value of it."""


def read_table(path: Path) -> Columns:
    """The columns of a file.

    Raises:
        SiteTableError: it cannot be read, or is no table.
    """
    kind = kind_of(path)
    try:
        columns = _read_csv(path) if kind == ".csv" else _read_npz(path)
    except OSError as error:
        raise SiteTableError(f"The table {path} cannot be read: {error.strerror or 'it is damaged'}.") from None
    except (ValueError, csv.Error, zipfile.BadZipFile, EOFError):
        raise SiteTableError(f"{path} is no table as {kind[1:].upper()}; see docs/governance.md for what is.") from None
    if len({len(column) for column in columns.values()}) != 1:
        raise SiteTableError(f"The columns of {path} have different lengths, or there are none.")
    return columns


def write_table(path: Path, columns: Columns) -> None:
    """Write columns so that :func:`read_table` gives them back, readable for this account only.

    Raises:
        OSError: the disk does not allow it.
    """
    if kind_of(path) == ".npz":
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **columns)
        write_file(path, packed.getvalue(), PRIVATE)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    write_file(path, text.getvalue(), PRIVATE)


def kind_of(path: Path) -> str:
    """Which kind of table a file is, by its ending.

    Raises:
        SiteTableError: none.
    """
    if path.suffix.lower() not in KINDS:
        raise SiteTableError(f"{path} is no table; its name must end in {' or '.join(KINDS)}.")
    return path.suffix.lower()


def _read_csv(path: Path) -> Columns:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = csv.reader(file, strict=True)
    if len(set(header)) != len(header) or any(len(row) != len(header) for row in rows):
        raise ValueError("a row is longer or shorter than the header, or a name stands twice")
    return {name: np.array([row[i] for row in rows], dtype=str) for i, name in enumerate(header)}


def _read_npz(path: Path) -> Columns:
    with np.load(path, allow_pickle=False) as found:
        columns: Columns = {name: found[name] for name in found.files}
    if any(column.ndim == 0 for column in columns.values()):
        raise ValueError("an array without rows")
    return columns

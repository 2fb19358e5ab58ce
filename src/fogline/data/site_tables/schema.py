"""What a task would see of a site's table, without the data; and made-up data true to it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from fogline.data.inputs import Array
from fogline.data.site_tables.altering import DIGITS
from fogline.data.site_tables.files import Columns, SiteTableError, kind_of
from fogline.decoding import UNREADABLE
from fogline.governance.policy.tables import ColumnRule, SiteTable
from fogline.governance.safe_files import read_bounded

FORMAT = 1
LARGEST = 1024 * 1024
MOST_TEXTS = 20
"""Different texts that a schema lists; of more it tells none."""
EMPTY = 0.05
"""Share of made-up values that are empty, in columns that have such."""
Type = Literal["integer", "number", "text", "hash"]


class ColumnSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column, as a task sees it."""

    name: str
    type: Type
    dtype: str
    """NumPy's name of the type, of an array; empty in CSV, where all is text."""
    shape: tuple[int, ...] = ()
    """Of one row, of an array."""
    step: float = 0.0
    """Numbers are multiples of it; 0: any."""
    length: int = 0
    """Characters of a text at most, where it was cut; 0: not told."""
    empty: bool = False
    """Whether there are rows without a value."""
    low: float | None = None
    high: float | None = None
    """The least and the largest number; None: the policy does not tell."""
    texts: tuple[str, ...] = ()
    """Which there are; none: the policy does not tell, or there are too many."""


class TableSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table, as a task sees it."""

    format: int
    table: str
    kind: str
    """``.csv`` or ``.npz``."""
    columns: tuple[ColumnSchema, ...]


def schema_of(table: SiteTable, columns: Columns) -> TableSchema:
    """The schema of what a task sees of a table. It holds no value of it, but for ranges where the policy gives them.

    Args:
        table: the owner's rules.
        columns: the altered columns (:func:`fogline.data.site_tables.altering.altered`).
    """
    rules = {rule.column: rule for rule in table.columns}
    found = tuple(_column(rules[name], column, table.ranges) for name, column in columns.items())
    return TableSchema(FORMAT, table.name, kind_of(Path(table.file)), found)


def read_schema(path: Path) -> TableSchema:
    """The schema in a file (JSON).

    Raises:
        SiteTableError: it cannot be read, or is none.
    """
    try:
        schema = msgspec.json.decode(read_bounded(path, LARGEST), type=TableSchema)
    except OSError as error:
        raise SiteTableError(f"The schema {path} cannot be read: {error.strerror}.") from None
    except UNREADABLE:
        raise SiteTableError(f"{path} is no schema of a table; fogline data schema writes one.") from None
    if schema.format != FORMAT:
        raise SiteTableError(f"{path} has format {schema.format}; this version of Fogline reads {FORMAT}.")
    return schema


def mock(schema: TableSchema, rows: int, seed: int = 0) -> Columns:
    """Made-up columns (``rows``, ...) true to a schema: each value is drawn by itself, so nothing in them depends on
    anything else.

    Args:
        schema: any.
        rows: how many.
        seed: the same one gives the same values.
    """
    rng = np.random.default_rng(seed)
    return {column.name: _made_up(column, rows, schema.kind == ".csv", rng) for column in schema.columns}


def _column(rule: ColumnRule, column: Array, ranges: bool) -> ColumnSchema:
    text = column.dtype.kind == "U"
    full = column[column != ""] if text else column
    kind = "hash" if rule.how == "hash" else _type(full)
    found = ColumnSchema(
        rule.column,
        kind,
        "" if text else column.dtype.name,
        tuple(column.shape[1:]),
        rule.size if rule.how == "round" else 0.0,
        int(rule.size) if rule.how == "prefix" else 0,
        text and len(full) < len(column),
    )
    if not ranges or kind == "hash" or not full.size:
        return found
    if kind == "text":
        texts = np.unique(full)
        return msgspec.structs.replace(found, texts=tuple(texts.tolist()) if len(texts) <= MOST_TEXTS else ())
    numbers = full.astype(np.float64)
    return msgspec.structs.replace(found, low=float(np.nanmin(numbers)), high=float(np.nanmax(numbers)))


def _type(column: Array) -> Type:
    if column.dtype.kind in "iub":
        return "integer"
    if column.dtype.kind == "f":
        return "number"
    for kind, read in (("integer", int), ("number", float)):
        try:
            for value in column.tolist():
                read(value)
        except ValueError:
            continue
        return "integer" if kind == "integer" else "number"
    return "text"


def _made_up(column: ColumnSchema, rows: int, csv: bool, rng: np.random.Generator) -> Array:
    made = _values(column, rows, rng)
    if not csv:
        return made
    texts = np.array([str(value) for value in made.tolist()], dtype=str)
    return np.where(rng.random(rows) < EMPTY, "", texts) if column.empty else texts


def _values(column: ColumnSchema, rows: int, rng: np.random.Generator) -> Array:
    if column.type == "hash":
        return np.array([rng.bytes(DIGITS // 2).hex() for _ in range(rows)], dtype=str)
    if column.type == "text":
        known = column.texts or tuple(_word(column.length or 6, rng) for _ in range(MOST_TEXTS))
        return rng.choice(np.array(known, dtype=str), rows)
    shape = (rows, *column.shape)
    low = 0.0 if column.low is None else column.low
    high = low + 100 * max(column.step, 1.0) if column.high is None else column.high
    step = column.step or (1.0 if column.type == "integer" else 0.0)
    if step:
        first, last = math.ceil(low / step), math.floor(high / step)
        numbers = rng.integers(first, last, shape, endpoint=True) * step
    else:
        numbers = rng.uniform(low, high, shape)
    return numbers.astype(column.dtype or (np.int64 if column.type == "integer" else np.float64))


def _word(length: int, rng: np.random.Generator) -> str:
    return "".join(chr(ord("a") + int(letter)) for letter in rng.integers(0, 26, length))

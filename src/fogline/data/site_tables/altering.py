"""What an owner's rules do to the columns of a table, before a task sees it.

A rule lessens what a column tells; it proves nothing. Ages in steps of ten, first digits of a postcode and hashes can
still point at a person together, and a hash can still be counted and joined on this site.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fogline.data.inputs import Array
from fogline.data.site_tables.files import Columns, SiteTableError, read_table
from fogline.governance.policy.tables import ColumnRule, How, SiteTable

DIGITS = 16
"""Hexadecimal digits of a hashed value: 64 bits."""
Alter = Callable[[Array, ColumnRule, bytes], Array]


def altered(table: SiteTable, secret: bytes) -> Columns:
    """The columns of a table that may be seen, altered by their rules; every other column is left out.

    Args:
        table: the owner's rules, and the file.
        secret: the site's own key for hashes: without it nobody can tell a value by trying all.

    Raises:
        SiteTableError: the file cannot be read, lacks a column, or has a value that a rule does not fit.
    """
    columns, seen = read_table(Path(table.file)), Columns()
    for rule in table.columns:
        if rule.column not in columns:
            raise SiteTableError(f"The table {table.file} has no column '{rule.column}', which its policy names.")
        if rule.how == "drop":
            continue
        try:
            seen[rule.column] = WAYS[rule.how](columns[rule.column], rule, secret)
        except ValueError:
            raise SiteTableError(
                f"The column '{rule.column}' of {table.file} has a value that '{rule.how}' does not fit; its policy "
                "must say another rule."
            ) from None
    if not seen:
        raise SiteTableError(f"The policy drops every column of {table.file}; keep one, or leave the table out.")
    return seen


def _keep(column: Array, rule: ColumnRule, secret: bytes) -> Array:
    return column


def _hash(column: Array, rule: ColumnRule, secret: bytes) -> Array:
    """One text for one value, of this column and this site only; what is empty stays empty."""
    _check_plain(column)

    def hashed(value: str) -> str:
        data = f"{rule.column}\0{value}".encode()
        return hmac.new(secret, data, hashlib.sha256).hexdigest()[:DIGITS] if value else ""

    return _each(column, hashed)


def _prefix(column: Array, rule: ColumnRule, secret: bytes) -> Array:
    _check_plain(column)
    return _each(column, lambda value: value[: int(rule.size)])


def _round(column: Array, rule: ColumnRule, secret: bytes) -> Array:
    """Down to a multiple of the step; what is empty stays empty."""
    if column.dtype.kind == "U":
        return _each(column, lambda value: _text(_floor(float(value), rule.size)) if value else "")
    if column.dtype.kind not in "iuf":
        raise ValueError("no numbers")
    return _floor(column, rule.size).astype(column.dtype)


def _floor(value: Any, step: float) -> Any:
    return np.floor(np.asarray(value, np.float64) / step) * step


def _text(value: Any) -> str:
    number = float(value)
    if not np.isfinite(number):
        raise ValueError("no number")
    return str(int(number)) if number.is_integer() else repr(number)


def _each(column: Array, change: Callable[[str], str]) -> Array:
    return np.array([change(str(value)) for value in column.tolist()], dtype=str)


def _check_plain(column: Array) -> None:
    if column.ndim != 1 or column.dtype.kind not in "Uiu":
        raise ValueError("no texts and no whole numbers")


WAYS: Mapping[How, Alter] = {"keep": _keep, "hash": _hash, "prefix": _prefix, "round": _round}

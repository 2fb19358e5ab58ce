"""Tables of a site, and what of their columns a task may see: an owner's rules, one text a column.

What they do to values is in :mod:`fogline.data.site_tables`. A column that has no rule is not in what the task sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from fogline.plugins import read_call, suggest

How = Literal["keep", "drop", "hash", "round", "prefix"]
WAYS: Mapping[str, How] = {way: way for way in get_args(How)}
SIZED = ("round", "prefix")
"""Rules that have a number: the step of numbers, and the characters of texts."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)


class ColumnRule(msgspec.Struct, frozen=True):
    """What becomes of a column."""

    column: str
    how: How
    size: float = 0.0


class SiteTable(msgspec.Struct, frozen=True):
    """A file of the site's, and the rules of its columns."""

    name: str
    """The parameter under which a task gets the path of its copy."""
    file: str
    columns: tuple[ColumnRule, ...]
    ranges: bool = False
    """Whether a schema may tell the least and the largest value, and which texts there are."""

    @classmethod
    def of(cls, name: str, file: str, columns: Mapping[str, str], ranges: bool = False) -> SiteTable:
        """A table of a policy.

        Raises:
            ValueError: its name is no parameter, or a rule is none.
        """
        if NAME.fullmatch(name) is None:
            raise ValueError(f"table.{name[:40]} is no name of a task's parameter; write one such as table.patients")
        if not columns:
            raise ValueError(f"table.{name} lets no column be used; name some in table.{name}.columns")
        rules = tuple(_rule(f"table.{name}.columns.{column}", column, text) for column, text in columns.items())
        return cls(name, file, rules, ranges)


def _rule(key: str, column: str, text: str) -> ColumnRule:
    call = read_call(text)
    how = WAYS.get(call.name)
    if how is None:
        raise ValueError(f"{key} is '{text[:40]}', which is no rule{suggest(call.name[:40], WAYS)}")
    sizes = [*call.values, *call.named.values()]
    if how not in SIZED:
        if sizes:
            raise ValueError(f"{key} is '{text[:40]}'; '{how}' has no number")
        return ColumnRule(column, how)
    (size,) = sizes if len(sizes) == 1 else (None,)
    whole = how == "round" or isinstance(size, int)
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < 1e300 or not whole:
        raise ValueError(f"{key} is '{text[:40]}'; write a number above 0, as {how}(10)")
    return ColumnRule(column, how, float(size))

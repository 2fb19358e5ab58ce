"""What commands that list things print: a table for people, or with ``--json`` an array of objects for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from fogline.cli.telling import printable

ENDLESS = 10_000
"""Characters that no line has."""
Item = Mapping[str, Any]
"""What programs are told of one thing; anything that MessagePack structs, lists, texts and numbers are made of."""


@dataclass
class Listing:
    """Things of one kind.

    Args:
        columns: of the table.
        empty: said to people instead of an empty table.
        title: above the table.
        numbers: columns that stand to the right.
        hint: what one does next, below the table.
        folds: whether a file gets lines no longer than a terminal's.
    """

    columns: tuple[str, ...]
    empty: str = ""
    title: str = ""
    numbers: frozenset[str] = frozenset()
    hint: str = ""
    folds: bool = True
    items: list[Item] = field(default_factory=list[Item])
    rows: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    def add(self, item: Item, *row: str) -> None:
        """A thing: for programs, and as a line of the table, in rich's markup."""
        self.items.append(item)
        self.rows.append(row)

    def table(self) -> Table:
        """The listing as a table for people."""
        table = Table(
            title=self.title or None,
            title_justify="left",
            title_style="bold",
            box=None,
            padding=(0, 2, 0, 0),
            header_style="dim",
        )
        for i, column in enumerate(self.columns):
            justify = "right" if column in self.numbers else "left"
            table.add_column(column, no_wrap=i == 0, style="cyan" if i == 0 else "", justify=justify)
        for row in self.rows:
            table.add_row(*map(printable, row))
        return table


def present(listings: Sequence[Listing], json: bool) -> None:
    """Print one or several.

    Args:
        listings: what there is.
        json: one array of objects on standard output, and nothing else.
    """
    if json:
        print_json([item for listing in listings for item in listing.items])
        return
    console = Console()
    for listing in listings:
        if listing.rows or not listing.empty:
            table = listing.table()
            (console if listing.folds or console.is_terminal else _unfolded(table)).print(table, highlight=False)
        else:
            console.print(listing.empty, markup=False, highlight=False, soft_wrap=True)
        if listing.title:
            console.print()
        if listing.hint:
            console.print(listing.hint, style="dim", markup=False, highlight=False, soft_wrap=True)


def _unfolded(table: Table) -> Console:
    """A console in which the table needs no fold."""
    console = Console()
    wanted = console.measure(table, options=console.options.update(width=ENDLESS)).maximum
    return Console(width=max(console.width, wanted))


def print_json(thing: Any) -> None:
    """A document on standard output, in lines that people can read too. Numbers that JSON has not are null."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(thing), indent=2).decode() + "\n")


def print_json_line(thing: Any) -> None:
    """A document in one line, at once: for what goes on."""
    sys.stdout.write(msgspec.json.encode(thing).decode() + "\n")
    sys.stdout.flush()

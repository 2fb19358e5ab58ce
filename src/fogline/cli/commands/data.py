"""``fogline data``: what tasks see of a site's tables, and made-up data of the same form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from fogline.cli.failures import UsageError
from fogline.cli.options import COMMON, CommonOptions
from fogline.data.site_tables.altering import altered
from fogline.data.site_tables.files import read_table, write_table
from fogline.data.site_tables.schema import mock as made_up
from fogline.data.site_tables.schema import read_schema, schema_of
from fogline.governance.policy.policy import read_policy
from fogline.governance.policy.tables import SiteTable
from fogline.network.node.process import NodeFolder
from fogline.network.node.views import site_secret
from fogline.plugins import suggest
from fogline.storage.atomic import write_file

DEVICE = Path("fogline-device")
Rows = Annotated[int, Parameter(validator=Number(gte=1, lte=10_000_000))]

data = App(name="data")


@data.command
def schema(table: str, /, *, folder: Path = DEVICE, to: Path | None = None, options: CommonOptions = COMMON) -> None:
    """Write what tasks see of a table of this site, without its data: for developers.

    Parameters
    ----------
    table
        Its name in the policy.
    folder
        The device's, with the policy.
    to
        The file; by default TABLE.schema.json.
    """
    place = NodeFolder(folder)
    found = _table(place, table)
    path = to or Path(f"{table}.schema.json")
    made = schema_of(found, altered(found, site_secret(folder)))
    write_file(path, msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
    told = "with the ranges of its values" if found.ranges else "without any value of it"
    print(f"{path} has the {len(made.columns)} columns that tasks see of {table}, {told}. Look at it first.")
    print(f"A developer makes data of that form with: fogline data mock {path} --rows 1000")


@data.command
def view(table: str, /, *, folder: Path = DEVICE, to: Path | None = None, options: CommonOptions = COMMON) -> None:
    """Write the copy of a table that tasks get, to look at it: it holds data.

    Parameters
    ----------
    table
        Its name in the policy.
    folder
        The device's, with the policy.
    to
        The file; by default TABLE.view and the table's ending.
    """
    found = _table(NodeFolder(folder), table)
    path = to or Path(f"{table}.view{Path(found.file).suffix}")
    columns = altered(found, site_secret(folder))
    write_table(path, columns)
    left = len(read_table(Path(found.file))) - len(columns)
    out = "1 column is" if left == 1 else f"{left} columns are"
    print(f"{path} is what tasks see of {table}: {', '.join(columns)}; {out} left out. It holds data.")


@data.command
def mock(
    schema: Path, /, *, rows: Rows, seed: int = 0, to: Path | None = None, options: CommonOptions = COMMON
) -> None:
    """Make up data true to a site's schema, to try a task on. Nothing in them depends on anything else.

    Parameters
    ----------
    schema
        What fogline data schema wrote.
    rows
        How many.
    seed
        The same one gives the same data.
    to
        The file; by default TABLE.mock.csv, or .npz, as the table is.
    """
    read = read_schema(schema)
    path = to or Path(f"{read.table}.mock{read.kind}")
    write_table(path, made_up(read, rows, seed))
    print(f"{path} has {rows:,} made-up rows. Try a job on it: --set task_parameters.{read.table}={path}")


def _table(place: NodeFolder, name: str) -> SiteTable:
    policy = read_policy(place.policy)
    found = next((table for table in policy.tables if table.name == name), None)
    if found is None:
        known = [table.name for table in policy.tables]
        raise UsageError(f"{place.policy} has no table '{name}'{suggest(name, known) if known else ''}")
    return found

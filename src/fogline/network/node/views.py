"""Altered copies of a site's tables, which tasks get in place of the files: made before a job's code is loaded."""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Sequence
from pathlib import Path

from fogline.data.site_tables.altering import altered
from fogline.data.site_tables.files import kind_of, write_table
from fogline.governance.policy.tables import SiteTable
from fogline.governance.safe_files import make_private_folder, write_new
from fogline.storage.atomic import PRIVATE
from fogline.storage.errors import explained

SECRET = "tables.key"


def make_views(tables: Sequence[SiteTable], text: str, folder: Path, where: Path) -> dict[str, str]:
    """The paths of the copies that a job gets, by the parameter of its task: of the tables whose names it has among its
    ``task_parameters``.

    Args:
        tables: of the owner's policy.
        text: the job (TOML).
        folder: the node's, which has the key for hashes.
        where: takes the copies.

    Raises:
        SiteTableError: a table cannot be read or altered.
        StorageError: a copy cannot be written.
    """
    wanted = tomllib.loads(text).get("task_parameters") or {}
    found: dict[str, str] = {}
    for table in tables:
        if table.name not in wanted:
            continue
        path = where / f"{table.name}{kind_of(Path(table.file))}"
        columns = altered(table, site_secret(folder))
        with explained("write the copy of a table", folder):
            make_private_folder(path.parent)
            write_table(path, columns)
        found[table.name] = str(path.resolve())
    return found


def site_secret(folder: Path) -> bytes:
    """The key under which values of this node's tables are hashed; it is made once, and never leaves the node.

    Raises:
        StorageError: it cannot be read or kept.
    """
    path = folder / SECRET
    with explained("keep the key of its tables", folder):
        try:
            make_private_folder(folder)
            write_new(path, secrets.token_bytes(32), PRIVATE)
        except FileExistsError:
            pass
        return path.read_bytes()

"""The schema, one numbered step after another. A step that was released is never changed: add the next one.

Words in braces differ between databases: ``{bytes}``, ``{number}``, ``{name}`` (text that sorts by code points) and
``{compact}`` (rows stand in the primary key itself).
"""

from __future__ import annotations

from collections.abc import Mapping

from fogline.storage.engine import Transaction
from fogline.storage.errors import StorageError

STEPS: tuple[tuple[str, ...], ...] = (
    (
        # How many entries a stream has: the row that appends to it wait for, and where its numbers come from.
        "CREATE TABLE streams (stream {name} PRIMARY KEY, length {number} NOT NULL) {compact}",
        """CREATE TABLE entries (
            stream {name} NOT NULL, number {number} NOT NULL, body {bytes} NOT NULL, PRIMARY KEY (stream, number)
        ) {compact}""",
        """CREATE TABLE stream_values (
            stream {name} NOT NULL, name {name} NOT NULL,
            digest {name} NOT NULL, size {number} NOT NULL, kind {name} NOT NULL,
            data {bytes} NOT NULL, PRIMARY KEY (stream, name)
        ) {compact}""",
        """CREATE TABLE documents (
            kind {name} NOT NULL, key {name} NOT NULL, body {bytes} NOT NULL, PRIMARY KEY (kind, key)
        ) {compact}""",
        "CREATE TABLE topics (topic {name} PRIMARY KEY, length {number} NOT NULL) {compact}",
        """CREATE TABLE notes (
            topic {name} NOT NULL, number {number} NOT NULL, body {bytes} NOT NULL, PRIMARY KEY (topic, number)
        ) {compact}""",
    ),
)
"""Step 1 stands first."""


def migrate(transaction: Transaction, words: Mapping[str, str], where: str) -> None:
    """Bring the schema to the newest step, within a transaction that nobody else migrates beside.

    Raises:
        StorageError: the schema is newer than this version of Fogline knows.
    """
    transaction.run("CREATE TABLE IF NOT EXISTS fogline_schema (version {number} NOT NULL)".format_map(words))
    rows = transaction.run("SELECT version FROM fogline_schema")
    version = int(rows[0][0]) if rows else 0
    if version > len(STEPS):
        raise StorageError(
            f"{where} was written by a newer Fogline (its schema is {version}, this one knows {len(STEPS)}); "
            f"update Fogline on this machine, or name another database"
        )
    for step in STEPS[version:]:
        for statement in step:
            transaction.run(statement.format_map(words))
    if not rows:
        transaction.run("INSERT INTO fogline_schema (version) VALUES (?)", (len(STEPS),))
    elif version < len(STEPS):
        transaction.run("UPDATE fogline_schema SET version = ?", (len(STEPS),))

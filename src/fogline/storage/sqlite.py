"""Records in a SQLite file: a write-ahead log, synced at every commit."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import RLock

from fogline.storage.engine import Parameter, Row, T, Transaction
from fogline.storage.errors import StorageError, StorageFullError, explained
from fogline.storage.files import sync_folder
from fogline.storage.migrations import migrate

WORDS = {"bytes": "BLOB", "number": "INTEGER", "name": "TEXT", "compact": "WITHOUT ROWID"}
WAIT = 0.02
"""Seconds between two tries to switch a new file to the write-ahead log."""


class SqliteEngine:
    """A SQLite file.

    Args:
        path: the file; it and its folder are made where they are missing. Only its owner may read it.
        patience: seconds to wait for another process's lock.

    Raises:
        StorageError: it cannot be opened, is locked or damaged.
    """

    words: Mapping[str, str] = WORDS

    def __init__(self, path: Path, patience: float) -> None:
        self.where = str(path)
        self._patience = patience
        self._lock = RLock()
        with explained("open the database", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_private(path)
        with self._explained():
            self._connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except sqlite3.Error:
                self._connection.close()
                raise
        with explained("open the database", path):
            sync_folder(path.parent)

    def read(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        """Run one statement that changes nothing."""
        with self._lock, self._explained(), closing(self._connection.execute(sql, parameters)) as cursor:
            return cursor.fetchall()

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Do the work in one transaction; it is on disk when this returns."""
        with self._lock, self._explained():
            # Taking the lock at once, not at the first change, is what makes waiting for others safe.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(_SqliteTransaction(self._connection))
                self._connection.execute("COMMIT")
                return result
            finally:
                if self._connection.in_transaction:
                    self._connection.rollback()

    def migrate(self) -> None:
        """Bring the schema up to date; the write lock keeps others waiting."""
        self.write(lambda transaction: migrate(transaction, self.words, self.where))

    def hold(self) -> None:
        """Let nobody write until this is closed; others read on."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")

    def pin(self) -> None:
        """See everything as it is now until this is closed, whatever others write."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # The first look is what counts.

    def copy_to(self, path: Path) -> None:
        """Write what is seen here into a new file, which only its owner may read."""
        with explained("copy the records", path):
            _make_private(path)
        with self._lock, self._explained(str(path)), closing(sqlite3.connect(path)) as copy:
            self._connection.backup(copy)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock, self._explained():
            self._connection.close()

    def _prepare(self) -> None:
        until = time.monotonic() + self._patience
        # SQLite does not wait by itself where two processes switch a new file to the log at once.
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if _name(error) != "SQLITE_BUSY" or time.monotonic() > until:
                    raise
                time.sleep(WAIT)
        self._connection.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _explained(self, where: str = "") -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            kind = StorageFullError if _name(error) == "SQLITE_FULL" else StorageError
            raise kind(f"{where or self.where} {self._sentence(error)}") from error

    def _sentence(self, error: sqlite3.Error) -> str:
        """What is wrong with the file, to stand after its name."""
        name = _name(error)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return f"is locked by another process for more than {self._patience:g} s; stop that process or try later"
        if name == "SQLITE_FULL":
            return "cannot grow, the disk is full; free some space and try again"
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return f"is damaged or no SQLite database ({error}); restore a backup, or move it away and begin anew"
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
            return f"cannot be opened for writing ({error}); check the owner of the file and of its folder"
        if name == "ProgrammingError":
            return f"cannot be used any more: {error}"
        return f"cannot be used: SQLite says '{error}' ({name}); check the disk, and start this node again"


class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        with closing(self._connection.execute(sql, parameters)) as cursor:
            return cursor.fetchall()

    def run_many(self, sql: str, rows: Iterable[Sequence[Parameter]]) -> None:
        self._connection.executemany(sql, rows).close()


def _make_private(path: Path) -> None:
    # Never by opening a file that is there: closing it would drop the locks of this process's other connections.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _name(error: sqlite3.Error) -> str:
    """SQLite's name for the error; what Python's module finds by itself has none."""
    return getattr(error, "sqlite_errorname", type(error).__name__)

"""Records in PostgreSQL, over one connection that is made anew once when it is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import Any, Generic

import psycopg
from psycopg.conninfo import conninfo_to_dict

from fogline.storage.engine import Parameter, Row, T, Transaction
from fogline.storage.errors import StorageError, StorageFullError
from fogline.storage.migrations import migrate

WORDS = {"bytes": "BYTEA", "number": "BIGINT", "name": 'TEXT COLLATE "C"', "compact": ""}
MIGRATING = 0x666F676C696E65
"""The advisory lock under which one process migrates ("fogline" in hex)."""
DEFAULTS = {
    "connect_timeout": 5,
    "application_name": "fogline",
    # A server that is gone is noticed within half a minute, not within hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""What a connection has where the address says nothing else; the last one in milliseconds."""
PAUSE = 0.1
"""Seconds between two questions after the fate of a transaction."""


class PostgresEngine:
    """A PostgreSQL database, one for each node (or one schema of it: ``?options=-csearch_path%3Dname``).

    A transaction whose connection breaks is done again, but not before the server has said that it left nothing
    behind, so that nothing is written twice. Sessions must be our own: no pool that shares them by transaction.

    Args:
        address: ``postgresql://user:password@host:port/database``. The password shows up in no message.
        patience: seconds to wait for another's lock.

    Raises:
        StorageError: the address cannot be read, or the server not reached.
    """

    words: Mapping[str, str] = WORDS

    def __init__(self, address: str, patience: float) -> None:
        self._address = address
        self._patience = patience
        self._lock = RLock()
        self._closed = False
        self._password, self.where, self._options = _understand(address)
        with self._explained():
            self._connection = self._connect()

    def read(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        """Run one statement that changes nothing."""
        with self._lock, self._explained():
            try:
                return self._run(sql, parameters)
            except psycopg.Error:
                if not self._lost:
                    raise
                self._connection = self._connect()
                return self._run(sql, parameters)

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Do the work in one transaction; the server has it on disk when this returns."""
        with self._lock, self._explained():
            attempt = _Attempt(work)
            try:
                return attempt.make(self._connection)
            except psycopg.Error:
                if not self._lost:
                    raise
            try:
                self._connection = self._connect()
                if attempt.sent and self._committed(attempt.number):
                    return attempt.result
                attempt = _Attempt(work)
                return attempt.make(self._connection)
            except psycopg.Error:
                if attempt.sent and self._lost:
                    raise self._unknown() from None
                raise

    def migrate(self) -> None:
        """Bring the schema up to date; an advisory lock keeps others waiting."""

        def work(transaction: Transaction) -> None:
            transaction.run("SELECT pg_advisory_xact_lock(?)", (MIGRATING,))
            migrate(transaction, self.words, self.where)

        self.write(work)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._closed = True
            self._connection.close()

    @property
    def _lost(self) -> bool:
        return self._connection.closed and not self._closed

    def _run(self, sql: str, parameters: Sequence[Parameter]) -> list[Row]:
        return _PostgresTransaction(self._connection).run(sql, parameters)

    def _connect(self) -> psycopg.Connection[Row]:
        connection = psycopg.connect(self._address, autocommit=True, **self._options)
        try:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{self._patience * 1000:.0f}ms"])
            # Whatever the server's default is, a returned call must be on its disk.
            connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def _committed(self, number: int) -> bool:
        """What became of a transaction whose connection broke at the commit.

        Raises:
            StorageError: the server does not say.
        """
        until = time.monotonic() + self._patience
        while (status := self._run("SELECT txid_status(?)", (number,))[0][0]) == "in progress":
            if time.monotonic() > until:
                break
            time.sleep(PAUSE)
        if status not in ("committed", "aborted"):
            raise self._unknown()
        return status == "committed"

    def _unknown(self) -> StorageError:
        return StorageError(
            f"The connection to {self.where} broke while records were written, and whether they were is not known; "
            f"start this node again, so that it goes on from what is there"
        )

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except psycopg.Error as error:
            kind = StorageFullError if isinstance(error, psycopg.errors.DiskFull) else StorageError
            # Not chained: what the driver says may quote the address.
            raise kind(self._sentence(error)) from None

    def _sentence(self, error: psycopg.Error) -> str:
        if isinstance(error, psycopg.errors.DiskFull):
            return f"{self.where} cannot grow, the server's disk is full; free some space there and try again"
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return f"{self.where} is locked by another session for more than {self._patience:g} s; end it or try later"
        if self._closed:
            return f"{self.where} was closed already"
        reason = (error.diag.message_primary or str(error)).strip().splitlines()
        said = reason[0].rstrip(".") if reason else type(error).__name__
        said = said.replace(self._password, "***") if self._password else said
        if error.sqlstate is None or error.sqlstate[:2] in ("08", "28", "3D", "57"):
            return f"{self.where} cannot be reached ({said}); check that the server runs and the address is right"
        return f"{self.where} refused the records: {said} (error {error.sqlstate}); see the server's log"


class _Attempt(Generic[T]):
    """One try of a transaction, and what is known of it when it breaks."""

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        self._work = work
        self.sent = False
        """Whether it may have been committed; what follows is known only then."""
        self.number: int
        """The server's number for the transaction."""
        self.result: T

    def make(self, connection: psycopg.Connection[Row]) -> T:
        """Do the work and commit."""
        cursor = connection.execute("BEGIN; SELECT txid_current()")
        try:
            cursor.nextset()
            (self.number,) = cursor.fetchall()[0]
            self.result = self._work(_PostgresTransaction(connection))
            self.sent = True
            connection.execute("COMMIT")
            return self.result
        finally:
            if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.rollback()


class _PostgresTransaction:
    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def run(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(_placed(sql), parameters)
            return cursor.fetchall() if cursor.description else []

    def run_many(self, sql: str, rows: Iterable[Sequence[Parameter]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_placed(sql), rows)


@cache
def _placed(sql: str) -> bytes:
    """The statement with the placeholders of this driver."""
    return sql.replace("?", "%s").encode()


def _understand(address: str) -> tuple[str | None, str, dict[str, Any]]:
    """The password, a name for people, and the options that the address leaves open."""
    try:
        parts = conninfo_to_dict(address)
    except psycopg.Error:
        parts = None
    if parts is None or _misread(parts):
        raise StorageError(
            "The address of the PostgreSQL database cannot be read (it is not shown, as it may hold a password); "
            "it must look like postgresql://user:password@host:port/database, special characters written as %XX"
        )
    place = f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"
    password = parts.get("password")
    options = {key: value for key, value in DEFAULTS.items() if key not in parts}
    return (None if password is None else str(password)), f"PostgreSQL at {place}", options


def _misread(parts: Mapping[str, Any]) -> bool:
    """Whether a part of a password with an unescaped / or @ in it stands where it does not belong."""
    ports = str(parts.get("port") or "5432").split(",")
    return not all(port.isdigit() for port in ports) or any("@" in str(parts.get(key)) for key in ("host", "dbname"))

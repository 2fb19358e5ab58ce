"""The records of a node: journals, documents and a log, the same over SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from fogline.storage.engine import DatabaseConnection, Transaction
from fogline.storage.errors import StorageError
from fogline.storage.value import BlobRef, check_digest, check_name

PAGE = 256
"""Entries that are read at once."""
LARGEST = 2**63


class Database:
    """Records of a node. Every call may come from any thread, and what it wrote is durable when it returns.

    Every method raises ``StorageError`` where the database cannot do it (``StorageFullError``: for want of room); the
    call has then left nothing behind, unless the text says that this is not known. Names are printable text;
    others raise ``ValueError``.
    """

    def __init__(self, engine: DatabaseConnection) -> None:
        self._engine = engine
        try:
            engine.migrate()
        except StorageError:
            engine.close()
            raise

    def __enter__(self) -> Database:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The database's name for people, without secrets."""
        return self._engine.where

    def close(self) -> None:
        """Let go of the database."""
        self._engine.close()

    # Journals

    def append(self, stream: str, entries: Sequence[bytes], values: Mapping[str, BlobRef | None] | None = None) -> None:
        """Append entries to a stream and set (or with None delete) values of it, all or nothing.

        A stream is there from its first append on, even one of nothing. Several writers of a stream take turns.
        """
        check_name(stream)
        changes = {check_name(name): value for name, value in (values or {}).items()}
        for value in changes.values():
            _check_value(value)

        def work(transaction: Transaction) -> None:
            first = _grow(transaction, "streams", "stream", stream, len(entries)) - len(entries)
            rows = [(stream, first + place, bytes(entry)) for place, entry in enumerate(entries)]
            transaction.run_many("INSERT INTO entries (stream, number, body) VALUES (?, ?, ?)", rows)
            _set_values(transaction, stream, changes)

        self._engine.write(work)

    def read(self, stream: str, start: int = 0) -> Iterator[bytes]:
        """The entries of a stream in order, from number ``start`` on; none if there is no such stream.

        It reads page after page, so memory does not grow with the stream; entries appended meanwhile come too.
        """
        last = start - 1
        while rows := self._engine.read(
            "SELECT number, body FROM entries WHERE stream = ? AND number > ? ORDER BY number LIMIT ?",
            (check_name(stream), last, PAGE),
        ):
            for last, body in rows:  # noqa: B007
                yield body

    def values(self, stream: str) -> dict[str, BlobRef]:
        """The values of a stream by name, sorted."""
        rows = self._engine.read(
            "SELECT name, digest, size, kind, data FROM stream_values WHERE stream = ? ORDER BY name",
            (check_name(stream),),
        )
        return {name: BlobRef(digest, size, kind, data) for name, digest, size, kind, data in rows}

    def streams(self) -> list[str]:
        """Names of all streams, sorted."""
        return [name for (name,) in self._engine.read("SELECT stream FROM streams ORDER BY stream")]

    def drop(self, stream: str) -> None:
        """Delete a stream with its entries and values; one that is not there is no error."""
        check_name(stream)

        def work(transaction: Transaction) -> None:
            # The row that appends wait for goes first.
            for table in ("streams", "entries", "stream_values"):
                transaction.run(f"DELETE FROM {table} WHERE stream = ?", (stream,))

        self._engine.write(work)

    def digests(self) -> set[str]:
        """Digests of all blobs that values of any stream name: those that must be kept."""
        return {digest for (digest,) in self._engine.read("SELECT DISTINCT digest FROM stream_values")}

    # Documents

    def put(self, kind: str, key: str, body: bytes) -> None:
        """Store a document; it replaces the one of that kind and key."""
        row = (*_place(kind, key), body)
        statement = (
            "INSERT INTO documents (kind, key, body) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body"
        )
        self._engine.write(lambda transaction: transaction.run(statement, row))

    def get(self, kind: str, key: str) -> bytes | None:
        """A document; None if there is none."""
        rows = self._engine.read("SELECT body FROM documents WHERE kind = ? AND key = ?", _place(kind, key))
        return rows[0][0] if rows else None

    def all(self, kind: str) -> list[tuple[str, bytes]]:
        """All documents of a kind as (key, body), sorted by key."""
        return [
            (key, body)
            for key, body in self._engine.read(
                "SELECT key, body FROM documents WHERE kind = ? ORDER BY key", (check_name(kind),)
            )
        ]

    def delete(self, kind: str, key: str) -> None:
        """Delete a document; one that is not there is no error."""
        place = _place(kind, key)
        self._engine.write(lambda t: t.run("DELETE FROM documents WHERE kind = ? AND key = ?", place))

    def swap(self, kind: str, key: str, before: bytes | None, after: bytes | None) -> bool:
        """Replace a document if it is still ``before`` (None: absent) by ``after`` (None: delete it).

        Returns:
            Whether it was ``before``, and so is ``after`` now. Of several who swap at once one gets True.
        """
        place = _place(kind, key)

        def work(transaction: Transaction) -> bool:
            if before is None and after is None:
                return not transaction.run("SELECT 1 FROM documents WHERE kind = ? AND key = ?", place)
            if before is None and after is not None:
                statement = "INSERT INTO documents (kind, key, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
                return bool(transaction.run(statement + " RETURNING 1", (*place, after)))
            if before is not None and after is None:
                statement = "DELETE FROM documents WHERE kind = ? AND key = ? AND body = ? RETURNING 1"
                return bool(transaction.run(statement, (*place, before)))
            assert before is not None
            assert after is not None
            statement = "UPDATE documents SET body = ? WHERE kind = ? AND key = ? AND body = ? RETURNING 1"
            return bool(transaction.run(statement, (after, *place, before)))

        return self._engine.write(work)

    # Log

    def note(self, topic: str, body: bytes) -> int:
        """Append a line to a topic; its number: 1, 2, 3 … without gaps."""
        check_name(topic)

        def work(transaction: Transaction) -> int:
            number = _grow(transaction, "topics", "topic", topic, 1)
            transaction.run("INSERT INTO notes (topic, number, body) VALUES (?, ?, ?)", (topic, number, body))
            return number

        return self._engine.write(work)

    def notes(self, topic: str, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """The first ``limit`` lines of a topic whose numbers are above ``after``, as (number, body) in order.

        Who asks again with the last number seen misses no line: numbers become visible in order.
        """
        rows = self._engine.read(
            "SELECT number, body FROM notes WHERE topic = ? AND number > ? ORDER BY number LIMIT ?",
            (check_name(topic), after, limit),
        )
        return [(number, body) for number, body in rows]

    def forget(self, topic: str) -> None:
        """Delete all lines of a topic, which begins anew with the next one."""
        check_name(topic)

        def work(transaction: Transaction) -> None:
            # The row that new lines wait for goes first.
            for table in ("topics", "notes"):
                transaction.run(f"DELETE FROM {table} WHERE topic = ?", (topic,))

        self._engine.write(work)


def _grow(transaction: Transaction, table: str, column: str, name: str, count: int) -> int:
    """The new length of a stream or topic. Others who want numbers of it wait until this transaction ends."""
    rows = transaction.run(
        f"INSERT INTO {table} ({column}, length) VALUES (?, ?) "
        f"ON CONFLICT ({column}) DO UPDATE SET length = {table}.length + excluded.length RETURNING length",
        (name, count),
    )
    return int(rows[0][0])


def _set_values(transaction: Transaction, stream: str, changes: Mapping[str, BlobRef | None]) -> None:
    gone = [(stream, name) for name, value in changes.items() if value is None]
    kept = [(stream, name, v.digest, v.size, v.kind, v.data) for name, v in changes.items() if v is not None]
    if gone:
        transaction.run_many("DELETE FROM stream_values WHERE stream = ? AND name = ?", gone)
    if kept:
        transaction.run_many(
            "INSERT INTO stream_values (stream, name, digest, size, kind, data) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (stream, name) DO UPDATE "
            "SET digest = excluded.digest, size = excluded.size, kind = excluded.kind, data = excluded.data",
            kept,
        )


def _place(kind: str, key: str) -> tuple[str, str]:
    return check_name(kind), check_name(key)


def _check_value(value: BlobRef | None) -> None:
    if value is None:
        return
    check_digest(value.digest)
    check_name(value.kind)
    if not 0 <= value.size < LARGEST:
        raise ValueError(f"A blob of {value.size} bytes cannot be")

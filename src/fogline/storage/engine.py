"""What the records need of a database; :mod:`fogline.storage.sqlite` and :mod:`fogline.storage.postgres` give it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]
Parameter = str | int | bytes


class Transaction(Protocol):
    """Statements that happen together or not at all. Parameters stand as ``?``."""

    def run(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        """Run one statement; the rows it gives."""
        ...

    def run_many(self, sql: str, rows: Iterable[Sequence[Parameter]]) -> None:
        """Run one statement for many parameters."""
        ...


class DatabaseConnection(Protocol):
    """One connection, safe to use from several threads. What goes wrong is a ``StorageError``."""

    where: str
    """The database's name for people, without secrets."""
    words: Mapping[str, str]
    """What this database calls the types of the schema."""

    def read(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        """Run one statement that changes nothing."""
        ...

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Do the work in one transaction, durable when this returns. The work may be called a second time, after
        the first time is known to have left nothing behind."""
        ...

    def migrate(self) -> None:
        """Bring the schema up to date, one process at a time."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...

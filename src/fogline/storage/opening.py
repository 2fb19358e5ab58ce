"""Which database and which store an address means. What needs a driver imports it here, when it is configured."""

from __future__ import annotations

from pathlib import Path

from fogline.storage.blobs import Blobs
from fogline.storage.database import Database
from fogline.storage.errors import StorageError
from fogline.storage.sqlite import SqliteEngine

PATIENCE = 10.0
RESERVE = 64 << 20


def open_database(where: str | Path, *, patience: float = PATIENCE) -> Database:
    """Open the records of a node, and bring their schema up to date.

    Args:
        where: a file (SQLite), or ``postgresql://user:password@host:port/database``.
        patience: seconds to wait for another's lock.

    Raises:
        StorageError: it cannot be opened or reached, is locked, damaged, or was written by a newer Fogline.
    """
    scheme = _scheme(where)
    if scheme is None:
        return Database(SqliteEngine(Path(where), patience))
    if scheme not in ("postgresql", "postgres"):
        raise StorageError(f"Records cannot be kept at {scheme}://; name a file, or a database as postgresql://…")
    try:
        from fogline.storage.postgres import PostgresEngine
    except ImportError as error:
        raise _missing("PostgreSQL", "psycopg") from error
    return Database(PostgresEngine(str(where), patience))


def open_blobs(
    where: str | Path, cache: Path | None = None, *, limit: int | None = None, reserve: int = RESERVE
) -> Blobs:
    """Open the blobs of a node.

    Args:
        where: a folder, or ``s3://bucket/prefix?endpoint=…&region=…`` (credentials: in the environment).
        cache: the local folder in front of S3; the folder itself needs none.
        limit: bytes of the largest blob that is taken; None: any.
        reserve: bytes of free disk space that blobs leave alone.

    Raises:
        StorageError: the folder cannot be made, or the bucket not reached.
    """
    scheme = _scheme(where)
    if scheme is None:
        return Blobs(Path(where), limit, reserve)
    if scheme != "s3":
        raise StorageError(f"Blobs cannot be kept at {scheme}://; name a folder, or a bucket as s3://…")
    if cache is None:
        raise StorageError("Blobs in S3 need a local folder in front of them; name one as the cache")
    try:
        from fogline.storage.s3 import S3Blobs
    except ImportError as error:
        raise _missing("S3", "obstore") from error
    return S3Blobs(str(where), cache, limit, reserve)


def _scheme(where: str | Path) -> str | None:
    """What stands before ``://``; None for a path."""
    if isinstance(where, Path) or "://" not in where:
        return None
    return where.partition("://")[0]


def _missing(what: str, package: str) -> StorageError:
    return StorageError(f"{what} needs the package {package}; install it with: pip install 'fogline[cloud]'")

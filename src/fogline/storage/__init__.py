"""Records (SQLite, PostgreSQL) and blobs (folder, S3) of a node, durable when a call returns."""

from fogline.storage.blobs import Blobs
from fogline.storage.database import Database
from fogline.storage.errors import (
    BlobBusyError,
    BlobTooLargeError,
    CorruptBlobError,
    MissingBlobError,
    StorageError,
    StorageFullError,
)
from fogline.storage.opening import open_blobs, open_database
from fogline.storage.value import BlobRef
from fogline.storage.writer import BlobWriter

__all__ = [
    "BlobBusyError",
    "BlobRef",
    "BlobTooLargeError",
    "BlobWriter",
    "Blobs",
    "CorruptBlobError",
    "Database",
    "MissingBlobError",
    "StorageError",
    "StorageFullError",
    "open_blobs",
    "open_database",
]

"""Records (SQLite, PostgreSQL) and blobs (folder, S3) of a node, durable when a call returns."""

from fogline.storage.blobs import Blobs
from fogline.storage.database import Database
from fogline.storage.errors import BlobBusy, BlobTooLarge, CorruptBlob, MissingBlob, StorageError, StorageFull
from fogline.storage.opening import open_blobs, open_database
from fogline.storage.value import Value
from fogline.storage.writer import Writer

__all__ = [
    "BlobBusy",
    "BlobTooLarge",
    "Blobs",
    "CorruptBlob",
    "Database",
    "MissingBlob",
    "StorageError",
    "StorageFull",
    "Value",
    "Writer",
    "open_blobs",
    "open_database",
]

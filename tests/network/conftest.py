"""The servers of the storage tests, for a cloud that keeps its records and blobs there."""

from tests.storage.conftest import postgres, postgres_server, s3, s3_server

__all__ = ["postgres", "postgres_server", "s3", "s3_server"]

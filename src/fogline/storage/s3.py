"""Blobs in an S3 bucket, with a local folder in front."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from fogline.storage.blobs import Blobs
from fogline.storage.errors import CorruptBlobError, MissingBlobError, StorageError, explained
from fogline.storage.files import CHUNK, write_all
from fogline.storage.value import check_digest, is_digest

if TYPE_CHECKING:
    from obstore.store import S3Config

PART = 5 << 20
"""The smallest part of an upload that S3 allows, in bytes: the only thing here that is larger than a chunk."""
PARTS = 10_000
"""The most parts that S3 allows."""
FORM = "s3://bucket/prefix?endpoint=https://host:port&region=name"


class S3Blobs(Blobs):
    """Blobs in S3 under ``<prefix>/<ab>/<digest>``; the folder caches them and holds partial files.

    Credentials come from the environment (``AWS_ACCESS_KEY_ID`` and the like) or from the machine's role. A prefix
    belongs to those who sweep it with the same ``keep``.

    Args:
        address: ``s3://bucket/prefix``, with ``?endpoint=`` and ``region=`` where it is not Amazon's.
        cache: the local folder.
        limit: bytes of the largest blob that is taken; None: any.
        reserve: bytes of free disk space that the cache leaves alone.

    Raises:
        StorageError: the address is not one, or the bucket cannot be reached.
    """

    def __init__(self, address: str, cache: Path, limit: int | None, reserve: int) -> None:
        super().__init__(cache, limit, reserve)
        self.where, self._store = _understand(address)
        with self._asking("list"):
            next(iter(obstore.list(self._store, chunk_size=1)), None)

    def has(self, digest: str) -> bool:
        """Whether the blob is in the bucket."""
        key = _key(digest)
        with self._asking("look at", digest):
            try:
                obstore.head(self._store, key)
            except FileNotFoundError:
                return False
            return True

    def size(self, digest: str) -> int:
        """Bytes of a blob; it is not fetched for that."""
        if self._folder.has(digest):
            return super().size(digest)
        with self._present(digest), self._asking("look at", digest):
            return obstore.head(self._store, _key(digest))["size"]

    def path(self, digest: str) -> Path:
        """A local file with the blob, fetched and checked first if the cache does not hold it.

        Raises:
            CorruptBlobError: the bytes in the bucket are not those of the digest.
            MissingBlobError: it is not there.
            StorageFullError: there is no room for it beside the reserve.
        """
        if not self._folder.has(digest):
            self._fetch(digest)
        return super().path(digest)

    def all(self) -> Iterator[str]:
        """Digests of all blobs in the bucket, in no order."""
        for page in self._pages():
            yield from page

    def delete(self, digest: str) -> None:
        """Delete a blob in the bucket and in the cache; one that is not there is no error."""
        key = _key(digest)
        with self._asking("delete", digest):
            obstore.delete(self._store, key)
        super().delete(digest)

    def sweep(self, keep: set[str], older_than_s: float) -> int:
        """Delete blobs that nobody needs, in the bucket and in the cache, and stale partial files; how many.

        See :meth:`Blobs.sweep`. A blob's age is that in the bucket or in the cache, whichever is younger.
        """
        before = time.time() - older_than_s
        gone: set[str] = set()
        for page in self._pages():
            stale = [d for d, at in page.items() if d not in keep and max(at, self._folder.changed(d)) < before]
            for digest in stale:
                self.delete(digest)
            gone.update(stale)
        gone |= self._folder.sweep(keep, before)
        return len(gone) + self._folder.sweep_partials(before)

    # Inside

    def _age_anew(self, digest: str) -> bool:
        # A blob that only the bucket holds is uploaded again: nothing else makes it young there.
        return self._folder.age_anew(digest) and self.has(digest)

    def _publish(self, file: FileIO, path: Path, digest: str, durable: bool) -> None:
        if not durable:
            self._folder.settle(file, path, digest, durable)
            return
        part = max(PART, -(-path.stat().st_size // PARTS))
        # First the bucket: a crash in between leaves a partial file, which the next writer finishes.
        with self._asking("upload", digest):
            obstore.put(self._store, _key(digest), path, chunk_size=part, max_concurrency=1)
        self._folder.settle(file, path, digest)

    def _fetch(self, digest: str) -> None:
        with self._present(digest), self._asking("fetch", digest):
            found = obstore.get(self._store, _key(digest))
            with self._folder.draft(found.meta["size"]) as (file, path):
                seen = hashlib.sha256()
                for chunk in found.stream(CHUNK):
                    seen.update(chunk)
                    with explained("write to the cache", self._folder.root):
                        write_all(file, bytes(chunk))
                if seen.hexdigest() != digest:
                    raise CorruptBlobError(
                        f"Blob {digest[:12]}… in {self.where} is damaged; delete it there, and store it again"
                    )
                self._folder.settle(file, path, digest)

    def _pages(self) -> Iterator[dict[str, float]]:
        """Digests and the times of their last change (seconds since 1970), page after page."""
        pages = iter(obstore.list(self._store))
        while True:
            with self._asking("list"):
                page = next(pages, None)
            if page is None:
                return
            yield {
                name: meta["last_modified"].timestamp()
                for meta in page
                if is_digest(name := meta["path"].rpartition("/")[2]) and meta["path"] == _key(name)
            }

    @contextmanager
    def _present(self, digest: str) -> Generator[None]:
        try:
            yield
        except _AbsentError:
            raise MissingBlobError(
                f"There is no blob {digest[:12]}… in {self.where}; fetch it again from where it came"
            ) from None

    @contextmanager
    def _asking(self, doing: str, digest: str | None = None) -> Generator[None]:
        what = "blobs" if digest is None else f"blob {digest[:12]}…"
        try:
            yield
        # Not chained: what the service says may quote the key's name and what was signed.
        except (BaseError, OSError) as error:
            kind = _AbsentError if isinstance(error, FileNotFoundError) else StorageError
            raise kind(
                f"Cannot {doing} {what} in {self.where}: {_reason(error)}; check the address, the network and the "
                f"credentials in the environment"
            ) from None


class _AbsentError(StorageError):
    """The bucket, or the blob in it, is not there."""


def _key(digest: str) -> str:
    return f"{check_digest(digest)[:2]}/{digest}"


def _reason(error: Exception) -> str:
    """The part of the driver's long text that helps people."""
    text = str(error)
    first = text.split("\n")[0].rpartition(" - ")[2].partition("<")[0].strip(" :")[:200]
    code = re.search(r"<Code>(\w+)</Code>", text)
    return f"{first} ({code[1]})" if code else first


def _understand(address: str) -> tuple[str, S3Store]:
    """A name for people, and the store."""
    try:
        parts = urlsplit(address)
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
        if not parts.netloc or "@" in parts.netloc or set(query) - {"endpoint", "region"}:
            raise ValueError
        given: S3Config = {"region": query.get("region", ["us-east-1"])[0]}
        if "endpoint" in query:
            given["endpoint"] = query["endpoint"][0]
        store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=given,
            client_options={"allow_http": given.get("endpoint", "").startswith("http://")},
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=30)},
        )
    except (BaseError, ValueError):
        raise StorageError(
            f"The address of the S3 storage cannot be read (it is not shown, as it may hold a secret); it must look "
            f"like {FORM}, with the credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        ) from None
    return f"s3://{parts.netloc}{parts.path.rstrip('/')}", store

"""Blobs in S3: the cache, the network and the bucket."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import obstore
import pytest
from obstore.store import S3Store

from fogline.storage import CorruptBlobError, MissingBlobError, StorageError, StorageFullError, open_blobs
from fogline.storage.s3 import S3Blobs
from tests.storage.conftest import SECRET, free_port

DATA = os.urandom(200_000)
DIGEST = sha256(DATA).hexdigest()
KEY = f"{DIGEST[:2]}/{DIGEST}"


@pytest.fixture
def near(s3: str, tmp_path: Path) -> S3Blobs:
    return node(s3, tmp_path / "near")


@pytest.fixture
def far(s3: str, tmp_path: Path) -> S3Blobs:
    """Another node that shares the bucket, with its own cache."""
    return node(s3, tmp_path / "far")


@pytest.fixture
def unreachable(near: S3Blobs) -> S3Store:
    return S3Store(
        "fog",
        endpoint=f"http://127.0.0.1:{free_port()}",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def node(address: str, cache: Path) -> S3Blobs:
    blobs = open_blobs(address, cache, reserve=0)
    assert isinstance(blobs, S3Blobs)
    return blobs


def cached(blobs: S3Blobs) -> list[str]:
    return sorted(path.name for path in blobs._folder.root.rglob("*") if path.is_file())


def test_what_one_node_stored_another_fetches(near: S3Blobs, far: S3Blobs) -> None:
    near.put(DATA)
    assert far.has(DIGEST)
    assert far.size(DIGEST) == len(DATA)
    assert list(far.all()) == [DIGEST]
    assert cached(far) == []
    assert far.path(DIGEST).read_bytes() == DATA
    assert cached(far) == [DIGEST]
    near.delete(DIGEST)
    with pytest.raises(MissingBlobError):
        near.path(DIGEST)


def test_a_large_blob_goes_up_in_parts(near: S3Blobs, far: S3Blobs, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 11
    (tmp_path / "model").write_bytes(data)
    digest, _ = near.adopt(tmp_path / "model")
    assert far.path(digest).read_bytes() == data


@pytest.mark.parametrize("damage", [DATA[:-1], bytes(len(DATA)), b""])
def test_a_damaged_object_does_not_get_into_the_cache(near: S3Blobs, far: S3Blobs, damage: bytes) -> None:
    near.put(DATA)
    obstore.put(near._store, KEY, damage)
    with pytest.raises(CorruptBlobError, match=f"Blob {DIGEST[:12]}… in s3://fog/.* is damaged"):
        far.path(DIGEST)
    assert cached(far) == []


def test_an_upload_that_fails_is_done_again(near: S3Blobs, far: S3Blobs, unreachable: S3Store) -> None:
    store, near._store = near._store, unreachable
    with near.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        with pytest.raises(StorageError, match=f"Cannot upload blob {DIGEST[:12]}… in s3://fog/.*check the address"):
            writer.finish()
    near._store = store
    assert not near.has(DIGEST)
    with near.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == len(DATA)
        writer.finish()
    assert far.path(DIGEST).read_bytes() == DATA


def test_a_crash_after_the_upload_leaves_a_partial_file_to_finish(
    near: S3Blobs, far: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise StorageError("The power went")

    monkeypatch.setattr(near._folder, "settle", crash)
    with near.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        with pytest.raises(StorageError, match="power"):
            writer.finish()
    monkeypatch.undo()
    with near.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == len(DATA)
        writer.finish()
    assert far.path(DIGEST).read_bytes() == near.path(DIGEST).read_bytes() == DATA


def test_a_blob_that_only_the_cache_holds_is_uploaded_again(near: S3Blobs, far: S3Blobs) -> None:
    near.put(DATA)
    far.delete(DIGEST)
    assert not near.has(DIGEST)
    near.put(DATA)
    assert far.path(DIGEST).read_bytes() == DATA


def test_a_cache_without_room_fetches_nothing(near: S3Blobs, far: S3Blobs) -> None:
    near.put(DATA)
    far._folder._reserve = 1 << 60
    with pytest.raises(StorageFullError, match="in reserve"):
        far.path(DIGEST)
    assert cached(far) == []


def test_objects_of_others_in_the_bucket_are_left_alone(near: S3Blobs) -> None:
    others = ["readme.txt", f"zz/{DIGEST}", f"deeper/{KEY}"]
    for key in others:
        obstore.put(near._store, key, b"mine")
    near.put(DATA)
    assert list(near.all()) == [DIGEST]
    assert near.sweep(set(), -1000) == 1
    assert sorted(meta["path"] for page in obstore.list(near._store) for meta in page) == sorted(others)


def test_a_bucket_that_is_not_there_is_named(s3_server: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"Cannot list blobs in s3://nobody: .*404 Not Found \(NoSuchBucket\)"):
        open_blobs(f"s3://nobody?endpoint={s3_server}", tmp_path)


class Gossip(BaseHTTPRequestHandler):
    """A service that says everything it knows when it refuses."""

    body: ClassVar[bytes] = (
        b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIAFOGLINE</AWSAccessKeyId>"
        b"<StringToSign>" + SECRET.encode() + b"</StringToSign></Error>"
    )

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def gossip() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Gossip)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_no_message_holds_a_credential(s3_server: str, gossip: str, tmp_path: Path) -> None:
    wrong = [
        f"s3://fog/node?endpoint={gossip}",
        f"s3://AKIAFOGLINE:{SECRET}@fog/node?endpoint={s3_server}",
        f"s3://fog/node?endpoint={s3_server}&aws_secret_access_key={SECRET}",
        f"s3://fog/node?{SECRET}",
        "s3://",
    ]
    for address in wrong:
        with pytest.raises(StorageError, match=r"S3 storage cannot be read|SignatureDoesNotMatch") as caught:
            open_blobs(address, tmp_path)
        text = "".join(traceback.format_exception(caught.value))
        assert SECRET not in text, address
        assert "AKIAFOGLINE" not in text, address

"""Blobs: one behaviour over a folder and S3."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fogline.storage import (
    BlobBusyError,
    Blobs,
    BlobTooLargeError,
    CorruptBlobError,
    MissingBlobError,
    StorageError,
    StorageFullError,
)
from fogline.storage.folder import BlobFolder

DATA = os.urandom(300_000)
DIGEST = sha256(DATA).hexdigest()
ABSENT = "0" * 64


def partials(blobs: Blobs) -> list[Path]:
    return list((blobs._folder.root / "partial").iterdir())


def age(blobs: Blobs, seconds: float) -> None:
    """Make all local files older."""
    for path in blobs._folder.root.rglob("*"):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def test_what_was_put_is_there(blobs: Blobs) -> None:
    assert not blobs.has(DIGEST)
    assert blobs.put(DATA) == DIGEST
    assert blobs.put(DATA) == DIGEST
    assert blobs.has(DIGEST)
    assert blobs.size(DIGEST) == len(DATA)
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert list(blobs.all()) == [DIGEST]
    assert not partials(blobs)
    blobs.verify(DIGEST)
    blobs.delete(DIGEST)
    blobs.delete(DIGEST)
    assert not blobs.has(DIGEST)
    assert list(blobs.all()) == []


def test_a_blob_that_is_not_there_is_named(blobs: Blobs) -> None:
    for call in (blobs.size, blobs.path, blobs.verify):
        with pytest.raises(MissingBlobError, match="no blob 000000000000… in "):
            call(ABSENT)


@pytest.mark.parametrize("digest", ["", "../" * 21 + "a", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "٠" * 64])
def test_a_digest_that_is_none_reaches_no_file(blobs: Blobs, digest: str) -> None:
    for call in (
        blobs.has,
        blobs.size,
        blobs.path,
        blobs.delete,
        blobs.verify,
        lambda text: blobs.writer(text, 1),
    ):
        with pytest.raises(ValueError, match="no sha256 digest"):
            call(digest)
    assert not partials(blobs)


def test_a_writer_goes_on_where_the_last_one_stopped(blobs: Blobs) -> None:
    offset = 0
    while offset < len(DATA):
        with blobs.writer(DIGEST, len(DATA)) as writer:
            assert writer.offset == offset
            writer.write(memoryview(DATA)[offset : offset + 70_000])
            writer.write(b"")
            offset = writer.offset
            assert not blobs.has(DIGEST)
            with pytest.raises(MissingBlobError):
                blobs.path(DIGEST)
    with blobs.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == len(DATA)
        writer.finish()
        writer.finish()
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert not partials(blobs)


def test_the_writer_of_a_blob_that_is_there_has_nothing_to_do(blobs: Blobs) -> None:
    blobs.put(DATA)
    with blobs.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == len(DATA)
        writer.finish()
    with pytest.raises(CorruptBlobError, match="has 300000 bytes, not 5"):
        blobs.writer(DIGEST, 5)
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert not partials(blobs)


def test_an_empty_blob_is_a_blob(blobs: Blobs) -> None:
    empty = sha256(b"").hexdigest()
    with blobs.writer(empty, 0) as writer:
        writer.finish()
    assert blobs.path(empty).read_bytes() == b""
    assert blobs.put(b"") == empty


def test_wrong_bytes_are_deleted(blobs: Blobs) -> None:
    with blobs.writer(DIGEST, len(DATA)) as writer:
        writer.write(bytes(len(DATA)))
        with pytest.raises(CorruptBlobError, match="not its digest"):
            writer.finish()
        with pytest.raises(StorageError, match="closed"):
            writer.finish()
    assert not partials(blobs)
    assert not blobs.has(DIGEST)
    with blobs.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 0
        writer.write(DATA)
        writer.finish()
    assert blobs.path(DIGEST).read_bytes() == DATA


def test_more_bytes_than_were_announced_are_refused(blobs: Blobs) -> None:
    with blobs.writer(DIGEST, 10) as writer:
        writer.write(DATA[:10])
        with pytest.raises(CorruptBlobError, match="10 bytes, but more came"):
            writer.write(b"x")
    assert not partials(blobs)


def test_fewer_bytes_than_were_announced_stay_and_wait(blobs: Blobs) -> None:
    with blobs.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:10])
        with pytest.raises(StorageError, match="10 of its 300000 bytes; send the rest"):
            writer.finish()
        writer.write(DATA[10:])
        writer.finish()
    assert blobs.has(DIGEST)


def test_a_partial_file_that_was_damaged_is_found_out(blobs: Blobs) -> None:
    with blobs.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:1000])
    (partial,) = partials(blobs)
    partial.write_bytes(bytes(1000))
    with blobs.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 1000
        writer.write(DATA[1000:])
        with pytest.raises(CorruptBlobError):
            writer.finish()
    assert not partials(blobs)


def test_a_partial_file_that_is_too_long_begins_anew(blobs: Blobs) -> None:
    with blobs.writer(DIGEST, 10**6) as writer:
        writer.write(bytes(500_000))
    with blobs.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 0
        writer.write(DATA)
        writer.finish()
    assert blobs.has(DIGEST)


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA + b"x", bytes(len(DATA))])
def test_a_blob_that_was_damaged_on_the_disk_is_found_out(blobs: Blobs, damage: bytes) -> None:
    blobs.put(DATA)
    blobs.path(DIGEST).write_bytes(damage)
    with pytest.raises(CorruptBlobError, match="was damaged and is deleted"):
        blobs.verify(DIGEST)
    blobs.put(DATA)
    assert blobs.path(DIGEST).read_bytes() == DATA
    # One of a wrong length is mended without being asked.
    blobs.path(DIGEST).write_bytes(DATA[:5])
    with blobs.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        writer.finish()
    assert blobs.path(DIGEST).read_bytes() == DATA


def test_the_second_writer_is_told(blobs: Blobs) -> None:
    with blobs.writer(DIGEST, len(DATA)) as first:
        first.write(DATA[:10])
        with pytest.raises(BlobBusyError, match="being written by another"):
            blobs.writer(DIGEST, len(DATA))
        first.write(DATA[10:])
        first.finish()
    with blobs.writer(DIGEST, len(DATA)) as second:
        assert second.offset == len(DATA)


def test_a_writer_that_was_forgotten_keeps_nobody_out(blobs: Blobs) -> None:
    blobs.writer(DIGEST, len(DATA)).write(DATA[:10])
    with blobs.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 10


def test_a_file_that_another_thread_closes_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: int) -> os.stat_result:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    folder = BlobFolder(tmp_path / "blobs", None, 0)
    with folder.draft(50_000), monkeypatch.context() as patched:
        patched.setattr("os.fstat", closed)
        folder.check_room(1)


def test_threads_that_want_the_same_blobs_get_them(blobs: Blobs) -> None:
    data = [bytes([number]) * 50_000 for number in range(3)]

    def write(number: int) -> None:
        body = data[number % 3]
        digest = sha256(body).hexdigest()
        if number % 2:
            assert blobs.put(body) == digest
        while True:
            try:
                writer = blobs.writer(digest, len(body))
            except BlobBusyError:
                time.sleep(0.001)
                continue
            with writer:
                while writer.offset < len(body):
                    writer.write(body[writer.offset : writer.offset + 10_000])
                writer.finish()
            break
        assert blobs.path(digest).read_bytes() == body

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, range(18)))
    assert set(blobs.all()) == {sha256(body).hexdigest() for body in data}
    assert not partials(blobs)


def test_a_finished_file_moves_in(blobs: Blobs, tmp_path: Path) -> None:
    for _ in range(2):
        source = tmp_path / "model.safetensors"
        source.write_bytes(DATA)
        os.utime(source, (1, 1))
        assert blobs.adopt(source) == (DIGEST, len(DATA))
        assert not source.exists()
        assert blobs.path(DIGEST).read_bytes() == DATA
        assert blobs._folder.sweep(set(), time.time() - 3600) == set()
    assert blobs.adopt(blobs.path(DIGEST)) == (DIGEST, len(DATA))
    assert blobs.path(DIGEST).read_bytes() == DATA


def test_only_a_regular_file_moves_in(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(StorageError, match="no regular file"):
            blobs.adopt(path)
    with pytest.raises(StorageError, match="No such file"):
        blobs.adopt(tmp_path / "nothing")


def test_a_file_moves_in_from_another_disk(blobs: Blobs, tiny_disk: Path) -> None:
    (tiny_disk / "model").write_bytes(DATA)
    assert blobs.adopt(tiny_disk / "model") == (DIGEST, len(DATA))
    assert not (tiny_disk / "model").exists()
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert not partials(blobs)


def test_a_blob_above_the_limit_is_refused_before_a_byte(blobs: Blobs, tmp_path: Path) -> None:
    blobs._folder._limit = 1000
    (tmp_path / "model").write_bytes(DATA)
    for call in (
        lambda: blobs.writer(DIGEST, 1001),
        lambda: blobs.put(DATA),
        lambda: blobs.adopt(tmp_path / "model"),
    ):
        with pytest.raises(BlobTooLargeError, match=r"above the limit of 1000 bytes in .*; send a smaller one"):
            call()
    assert (tmp_path / "model").read_bytes() == DATA
    assert not partials(blobs)
    with blobs.writer(DIGEST, 1000):
        pass


def test_the_reserve_is_left_alone(blobs: Blobs) -> None:
    blobs._folder._reserve = 1 << 60
    for call in (lambda: blobs.writer(DIGEST, 1), lambda: blobs.put(DATA)):
        with pytest.raises(StorageFullError, match=r"free and keeps 1048576\.0 TiB of it in reserve; free some space"):
            call()
    assert not partials(blobs)


def test_what_others_were_promised_is_not_promised_again(blobs: Blobs) -> None:
    disk = os.statvfs(blobs._folder.root)
    most = int(disk.f_bavail * disk.f_frsize * 0.6)
    with blobs.writer(DIGEST, most):
        with pytest.raises(StorageFullError):
            blobs.writer(ABSENT, most)
        blobs.writer(ABSENT, 10).close()
    with blobs.writer(ABSENT, most):
        pass


def test_a_sweep_deletes_what_nobody_needs(blobs: Blobs) -> None:
    kept, young = blobs.put(b"kept"), blobs.put(b"young")
    old = blobs.put(b"old")
    with blobs.writer(ABSENT, 10) as stale:
        stale.write(b"x")
    time.sleep(1.1)  # Times in S3 are whole seconds.
    assert blobs.sweep({kept, young}, 3600) == 0
    age(blobs, 100)
    with blobs.writer(DIGEST, 10) as live:
        live.write(b"x")
        assert blobs.put(b"young") == young
        age_of_live = blobs._folder.root / "partial" / DIGEST
        os.utime(age_of_live, (0, 0))
        assert blobs.sweep({kept}, 1.0) == 2
        assert set(blobs.all()) == {kept, young}
        assert not blobs.has(old)
        assert partials(blobs) == [age_of_live]
        live.write(b"x")
        assert live.offset == 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.lists(st.integers(0, 60), max_size=8))
def test_pieces_of_any_size_make_the_blob(blobs: Blobs, data: bytes, sizes: list[int]) -> None:
    digest = sha256(data).hexdigest()
    blobs.delete(digest)
    for size in [*sizes, len(data)]:
        with blobs.writer(digest, len(data)) as writer:
            writer.write(data[writer.offset : writer.offset + size])
            if writer.offset == len(data):
                writer.finish()
    assert blobs.path(digest).read_bytes() == data

"""Blobs when the process dies, the disk is full or somebody sends nonsense."""

from __future__ import annotations

import fcntl
import os
import tracemalloc
from hashlib import sha256
from io import FileIO
from pathlib import Path

import pytest

from fogline.storage import StorageError, StorageFullError, open_blobs
from tests.patience import PATIENCE
from tests.storage import child


def test_a_killed_writer_leaves_its_offset_and_no_lock(tmp_path: Path) -> None:
    # More than the child can write while nobody reads what it says.
    data = bytes(96 << 20)
    digest = sha256(data).hexdigest()
    process = child.start("write", tmp_path, digest, len(data))
    assert process.stdout is not None
    written = 0
    while written < 10 * 4096:
        written = int(process.stdout.readline())
    process.kill()
    process.wait(PATIENCE)
    with open_blobs(tmp_path, reserve=0).writer(digest, len(data)) as writer:
        assert written <= writer.offset < len(data)
        writer.write(memoryview(data)[writer.offset :])
        writer.finish()
    assert open_blobs(tmp_path).size(digest) == len(data)


def test_two_processes_do_not_write_the_same_blob(tmp_path: Path) -> None:
    digest = "ab" * 32
    process = child.start("write", tmp_path, digest, 1 << 30)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        with pytest.raises(StorageError, match="being written by another"):
            open_blobs(tmp_path, reserve=0).writer(digest, 1 << 30)
        assert open_blobs(tmp_path).sweep(set(), -1000) == 0
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_a_file_that_was_finished_while_we_waited_for_its_lock_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, data = open_blobs(tmp_path, reserve=0), b"bytes of the other"
    digest = sha256(data).hexdigest()
    other = blobs.writer(digest, len(data))
    other.write(data)
    lock = fcntl.flock

    def late(file: FileIO, how: int) -> None:
        monkeypatch.undo()
        other.finish()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with blobs.writer(digest, len(data)) as writer:
        assert writer.offset == len(data)
        writer.finish()
    assert blobs.path(digest).read_bytes() == data
    assert not list((tmp_path / "partial").iterdir())


def test_a_full_disk_keeps_what_fits_and_goes_on_later(tiny_disk: Path) -> None:
    data = bytes(range(256)) * 2400
    digest = sha256(data).hexdigest()
    blobs = open_blobs(tiny_disk, reserve=0)
    with blobs.writer(digest, len(data)) as writer:
        (tiny_disk / "ballast").write_bytes(bytes(800_000))
        with pytest.raises(StorageFullError, match=f"Cannot write blob {digest[:12]}… in .*: the disk is full"):
            writer.write(data)
        stopped = writer.offset
        assert 0 < stopped < len(data)
        with pytest.raises(StorageFullError, match=r"the disk is full|needs"):
            blobs.put(bytes(10_000) + data)
    with pytest.raises(StorageFullError, match=r"A blob needs \d+\.\d KiB more, but .* has .* free"):
        blobs.writer(digest, len(data))
    (tiny_disk / "ballast").unlink()
    with blobs.writer(digest, len(data)) as writer:
        assert writer.offset == stopped
        writer.write(data[stopped:])
        writer.finish()
    assert blobs.path(digest).read_bytes() == data


def test_a_blob_gets_its_name_only_when_its_bytes_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, data = open_blobs(tmp_path, reserve=0), b"bytes"
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name[:5], any(blobs.all())))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    digest = blobs.put(data)
    # The bytes, the new folder's name, the blob's name.
    assert synced == [("draft", False), (tmp_path.name[:5], False), (digest[:2], True)]


def test_a_blob_that_a_record_holds_too_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = open_blobs(tmp_path, reserve=0)

    def never(descriptor: int) -> None:
        raise AssertionError(f"something waits for the disk: {os.readlink(f'/proc/self/fd/{descriptor}')}")

    monkeypatch.setattr(os, "fsync", never)
    digest = blobs.put(b"bytes", durable=False)
    assert blobs.path(digest).read_bytes() == b"bytes"


def test_memory_does_not_grow_with_the_blob(tmp_path: Path) -> None:
    blobs, size = open_blobs(tmp_path / "blobs", reserve=0), 24 << 20
    chunk, whole = bytes(1 << 20), sha256()
    for _ in range(size >> 20):
        whole.update(chunk)
    tracemalloc.start()
    try:
        with blobs.writer(whole.hexdigest(), size) as writer:
            for _ in range(12):
                writer.write(chunk)
        with blobs.writer(whole.hexdigest(), size) as writer:
            for _ in range(12):
                writer.write(chunk)
            writer.finish()
        blobs.verify(whole.hexdigest())
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


def test_strange_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    blobs = open_blobs(tmp_path, reserve=0)
    digest = blobs.put(b"x")
    strange = [tmp_path / "notes.txt", tmp_path / digest[:2] / "notes.txt", tmp_path / "zz" / digest]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert list(blobs.all()) == [digest]
    assert blobs.sweep(set(), -1000) == 1
    assert all(path.exists() for path in strange)


@pytest.mark.parametrize("where", ["gs://bucket", "s3://bucket"])
def test_an_address_that_cannot_be_is_refused(where: str) -> None:
    with pytest.raises(StorageError, match=r"name a folder|name one as the cache"):
        open_blobs(where)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot keep blobs in"):
        open_blobs(tmp_path / "file" / "blobs")

"""Files are whole or not there, with the right mode, whatever happens while they are written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fogline.storage import StorageFullError
from fogline.storage.atomic import PRIVATE, PUBLIC, replacing, sweep_drafts, write_file
from fogline.storage.errors import explained


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_file(path, b"old")
    write_file(path, "new: ü\n", durable=False)
    assert path.read_bytes() == "new: ü\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_it_has_its_mode_from_its_first_moment_on(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_file(path, b"")
    usual = mode_of(path)
    for mode in (PUBLIC, PRIVATE):
        with replacing(path, mode) as file:
            assert mode_of(Path(file.name)) == mode
        assert mode_of(path) == mode
    write_file(path, b"")
    assert mode_of(path) == usual


def test_who_reads_meanwhile_sees_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_file(path, b"old")
    with replacing(path) as one, replacing(path) as other:
        one.write(b"one")
        other.write(b"other")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"one", "the last one that is ready wins"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x"
    write_file(path, b"old")

    def ends_early() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        ends_early()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_sentence_and_changes_nothing(tiny_disk: Path) -> None:
    path = tiny_disk / "x"
    write_file(path, b"old")
    with pytest.raises(StorageFullError, match=r"^Cannot write x in .*: the disk is full; free some space"):  # noqa: SIM117
        with explained("write x", tiny_disk):
            write_file(path, bytes(4 << 20))
    assert path.read_bytes() == b"old"
    assert [found.name for found in tiny_disk.iterdir()] == ["x"]


@pytest.mark.parametrize("durable", [False, True])
def test_it_is_durable_where_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    path, synced, sync = tmp_path / "x", list[tuple[str, bool]](), os.fsync

    def watch(descriptor: int) -> Any:
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name[:2], path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_file(path, b"new", durable=durable)
    # The bytes before the file has its name, and then the name.
    assert synced == ([(".x", False), (tmp_path.name[:2], True)] if durable else [])


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    killed = (
        "import os, sys; from pathlib import Path; from fogline.storage.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as file: file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "sub" / "x.json"
    path.parent.mkdir()
    assert subprocess.run([sys.executable, "-c", killed, str(path)], check=False).returncode == -9
    assert len(list(path.parent.iterdir())) == 1
    kept = {"x.json", ".x.part", "x.0123456789abcdef.part", ".x.0123456789abcdef.partial"}
    for name in kept:
        (path.parent / name).write_bytes(b"")
    sweep_drafts(path.parent, tmp_path / "not there")
    assert {found.name for found in path.parent.iterdir()} == kept

"""Records in a SQLite file, and what can happen to files."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from threading import Timer

import pytest

from fogline.storage import StorageError, StorageFullError, open_database
from tests.patience import PATIENCE
from tests.storage import child


def test_it_syncs_at_every_commit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "node.db"
    with open_database(path) as database:
        connection: sqlite3.Connection = database._engine._connection  # type: ignore[attr-defined]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    with open_database(tmp_path / "node.db") as database:
        database.put("token", "t", b"hash")
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lock_of_another_process_is_named_and_passes(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    with open_database(path, patience=0.2) as database:
        holder = child.start("hold", path)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(StorageError, match=r"node\.db is locked by another process for more than 0\.2 s"):
            database.append("s", [b"x"])
        with pytest.raises(StorageError, match="locked"):
            open_database(path, patience=0.2)
        assert list(database.read("s")) == []
        holder.communicate("go\n", timeout=PATIENCE)
        database.append("s", [b"y"])
        assert list(database.read("s")) == [b"y"]


def test_it_waits_for_another_who_is_just_making_the_file(tmp_path: Path) -> None:
    """SQLite itself gives up at once here, whatever its time-out."""
    path = tmp_path / "node.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = Timer(0.2, other.close)
    release.start()
    with open_database(path) as database:
        database.append("s", [b"x"])
    release.join()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="The system does not list locks")
def test_opening_it_twice_in_a_process_drops_no_lock(tmp_path: Path) -> None:
    """Closing any descriptor of a file drops all of a process's locks on it (POSIX), SQLite's too."""
    path = tmp_path / "node.db"
    with open_database(path) as database:
        database.append("s", [b"x"])

        def locks() -> list[str]:
            mine = f" {os.getpid()} ", f":{path.stat().st_ino} "
            return [line for line in Path("/proc/locks").read_text().splitlines() if all(part in line for part in mine)]

        assert locks()
        with open_database(path):
            assert locks()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(range(256)) * 64])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"node\.db is damaged or no SQLite database .*; restore a backup"):
        open_database(path)
    assert path.read_bytes() == content


def test_damage_that_comes_later_is_named(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    with open_database(path) as database:
        for number in range(200):
            database.put("job", str(number), bytes(1000))
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 30)
    with open_database(path) as database, pytest.raises(StorageError, match="damaged"):
        database.all("job")


def test_a_folder_where_the_file_should_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        open_database(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot open the database"):
        open_database(tmp_path / "file" / "node.db")


def test_a_full_disk_loses_nothing_that_was_acknowledged(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    acknowledged: list[bytes] = []
    with open_database(tiny_disk / "node.db") as database:

        def fill() -> None:
            for number in range(1000):
                database.append("journal", [b"%d" % number, bytes(5000)])
                acknowledged.append(b"%d" % number)

        with pytest.raises(StorageFullError, match=r"node\.db cannot grow, the disk is full; free some space"):
            fill()
        assert acknowledged
        assert list(database.read("journal"))[::2] == acknowledged
        # It goes on in the same process as soon as there is room.
        ballast.unlink()
        database.append("journal", [b"on", b""])
    with open_database(tiny_disk / "node.db") as database:
        assert list(database.read("journal"))[::2] == [*acknowledged, b"on"]

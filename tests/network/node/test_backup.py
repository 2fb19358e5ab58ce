"""A node's folder as a file, and back: whole, or not at all."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from fogline.network.cloud.cloud import create
from fogline.network.node.backups.backup import back_up, restore
from fogline.network.node.backups.files import MANIFEST, RECORDS, BackupError
from fogline.network.node.process import NodeFolder
from fogline.storage.errors import StorageError
from fogline.storage.files import open_locked

MADE_ANEW = {"drafts", "sessions"}
"""Folders of which a backup has nothing: what was half made, and the keys of people who are signed in just now."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cloud that has run."""
    create(tmp_path / "cloud")
    place = NodeFolder(tmp_path / "cloud")
    with place.occupied(), place.open_database() as database:
        database.put("job", "j-1", b"something")
    (place.folder / "blobs").mkdir()
    (place.folder / "blobs" / "0123").write_bytes(os.urandom(100_000))
    for name in MADE_ANEW:
        (place.folder / name).mkdir()
        (place.folder / name / "1").write_bytes(b"half")
    return place.folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Files with their bytes and permissions; without what is made anew at every start."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "node.lock" and not MADE_ANEW & set(path.parts)
    }


def test_what_is_restored_is_what_was_backed_up(folder: Path, tmp_path: Path) -> None:
    manifest = back_up(folder, tmp_path / "cloud.tar")
    assert (manifest.node, manifest.role, manifest.records) == ("cloud", "cloud", True)
    assert (tmp_path / "cloud.tar").stat().st_mode & 0o077 == 0
    again = tmp_path / "there" / "cloud"
    assert restore(tmp_path / "cloud.tar", again) == manifest
    assert contents(again) == contents(folder)
    assert any(mode & 0o077 == 0 for _, mode in contents(again).values())
    assert not (again / "node.lock").exists()
    with NodeFolder(again).open_database() as database:
        assert database.get("job", "j-1") == b"something"


def test_records_that_lie_elsewhere_are_not_taken_for_backed_up(folder: Path, tmp_path: Path) -> None:
    (folder / "records.sqlite").unlink()
    assert not back_up(folder, tmp_path / "cloud.tar").records


def test_a_node_that_runs_is_copied_and_nothing_is_left_of_that(folder: Path, tmp_path: Path) -> None:
    (folder / ".backup").mkdir()
    (folder / ".backup" / "7").write_bytes(b"of a backup that was killed")
    with NodeFolder(folder).occupied():
        back_up(folder, tmp_path / "cloud.tar")
    restore(tmp_path / "cloud.tar", tmp_path / "again")
    assert contents(tmp_path / "again").keys() == contents(folder).keys()
    assert {name: each for name, each in contents(tmp_path / "again").items() if name != RECORDS} == {
        name: each for name, each in contents(folder).items() if name != RECORDS
    }
    with NodeFolder(tmp_path / "again").open_database() as database:
        assert database.get("job", "j-1") == b"something"
    assert not list(folder.glob("*backup*"))
    assert [path.name for path in tmp_path.glob("*.tar*")] == ["cloud.tar"]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("elsewhere", "what"), [({"store": "x"}, "records"), ({"blobs": "s3://x"}, "models")])
def test_a_node_that_runs_with_something_elsewhere_is_to_be_stopped(
    elsewhere: dict[str, str], what: str, folder: Path, tmp_path: Path
) -> None:
    with (
        NodeFolder(folder, **elsewhere).occupied(),
        pytest.raises(BackupError, match=f"keeps its {what} .* elsewhere, .*; stop it"),
    ):
        back_up(folder, tmp_path / "cloud.tar")
    assert not (tmp_path / "cloud.tar").exists()


def test_a_node_of_an_older_version_is_to_be_stopped(folder: Path, tmp_path: Path) -> None:
    with NodeFolder(folder).occupied():
        (folder / "node.lock").write_bytes(b"")
        with pytest.raises(BackupError, match="started by an older version"):
            back_up(folder, tmp_path / "cloud.tar")


def test_a_node_that_runs_is_copied_once_at_a_time(folder: Path, tmp_path: Path) -> None:
    turn = open_locked(folder / "backup.lock")
    assert turn is not None
    with turn, NodeFolder(folder).occupied(), pytest.raises(BackupError, match=r"Another backup of .* is being made"):
        back_up(folder, tmp_path / "cloud.tar")


def test_a_node_that_was_stopped_meanwhile_is_copied_once_at_a_time_too(folder: Path, tmp_path: Path) -> None:
    turn = open_locked(folder / "backup.lock")
    (folder / ".backup").mkdir()
    (folder / ".backup" / "7").write_bytes(b"of a backup that was begun while the node ran, and goes on")
    assert turn is not None
    with turn, pytest.raises(BackupError, match=r"Another backup of .* is being made"):
        back_up(folder, tmp_path / "cloud.tar")
    assert (folder / ".backup" / "7").exists()
    back_up(folder, tmp_path / "cloud.tar")
    assert not list(folder.glob("*backup*"))


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("name", ["identity", "blobs", RECORDS, "policy.toml"])
def test_what_lies_behind_a_link_is_not_taken_for_backed_up(
    name: str, runs: bool, folder: Path, tmp_path: Path
) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with (
        NodeFolder(folder).occupied() if runs else nullcontext(),
        pytest.raises(BackupError, match=f"/{name} is a link"),
    ):
        back_up(folder, tmp_path / "cloud.tar")
    assert not list(tmp_path.glob("*.tar*"))
    assert not list(folder.glob("*backup*"))


@pytest.mark.parametrize("runs", [False, True])
def test_a_folder_that_was_unpacked_by_hand_has_backups_again(runs: bool, folder: Path, tmp_path: Path) -> None:
    (folder / MANIFEST).write_text("{}")
    with NodeFolder(folder).occupied() if runs else nullcontext():
        back_up(folder, tmp_path / "cloud.tar")
    restore(tmp_path / "cloud.tar", tmp_path / "again")
    assert not (tmp_path / "again" / MANIFEST).exists()


def test_a_name_that_is_no_text_is_said(folder: Path, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).touch()
    with pytest.raises(BackupError, match=r"udcff.txt' has a name that is no text"):
        back_up(folder, tmp_path / "cloud.tar")


def test_a_place_where_no_file_can_be_is_said(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with NodeFolder(folder).occupied(), pytest.raises(StorageError, match="Not a directory"):
        back_up(folder, tmp_path / "file" / "cloud.tar")


def test_the_folder_in_which_somebody_is_is_not_made_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(folder, tmp_path / "cloud.tar")
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    with pytest.raises(BackupError, match="is where you are"):
        restore(tmp_path / "cloud.tar", Path())
    restore(tmp_path / "cloud.tar", Path("node"))
    assert (tmp_path / "new" / "node" / "identity").is_dir()


def test_nothing_is_written_over(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "cloud.tar"
    back_up(folder, file)
    before = file.read_bytes()
    with pytest.raises(BackupError, match="there already"):
        back_up(folder, file)
    with pytest.raises(BackupError, match="not empty"):
        restore(file, folder)
    assert file.read_bytes() == before
    with pytest.raises(BackupError, match="would lie in the folder"):
        back_up(folder, folder / "cloud.tar")
    (tmp_path / "empty").mkdir()
    restore(file, tmp_path / "empty")
    assert contents(tmp_path / "empty") == contents(folder)


def test_what_is_no_node_or_no_backup_is_said_to_be_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no node in"):
        back_up(tmp_path / "nowhere", tmp_path / "x.tar")
    with pytest.raises(BackupError, match="There is no file"):
        restore(tmp_path / "x.tar", tmp_path / "new")
    for data in (b"", b"\0" * 10240, b"no archive at all" * 1000):
        (tmp_path / "x.tar").write_bytes(data)
        refused(tmp_path / "x.tar", "no backup")


def refused(file: Path, why: str) -> None:
    """It is not restored, and nothing is left of the attempt."""
    home = file.parent / "new home"
    with pytest.raises(BackupError, match=why):
        restore(file, home / "node")
    assert not list(home.iterdir())


def test_a_file_that_is_cut_short_is_noticed_wherever_it_is_cut(folder: Path, tmp_path: Path) -> None:
    back_up(folder, tmp_path / "cloud.tar")
    whole = (tmp_path / "cloud.tar").read_bytes()
    with tarfile.open(tmp_path / "cloud.tar") as archive:
        end = max(member.offset_data + member.size for member in archive)
    for at in (*range(0, end, end // 40), end - 1):
        (tmp_path / "cut.tar").write_bytes(whole[:at])
        refused(tmp_path / "cut.tar", "cut short|damaged")


def test_a_changed_byte_is_noticed_in_every_file(folder: Path, tmp_path: Path) -> None:
    back_up(folder, tmp_path / "cloud.tar")
    whole = (tmp_path / "cloud.tar").read_bytes()
    with tarfile.open(tmp_path / "cloud.tar") as archive:
        places = {member.name: member.offset_data + member.size // 2 for member in archive if member.size}
    for place in places.values():
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / "changed.tar").write_bytes(changed)
        refused(tmp_path / "changed.tar", "damaged|format|was changed")
    assert len(places) > 8


def rewritten(file: Path, change: Callable[[tarfile.TarFile], None]) -> None:
    """Adds to an archive, before its manifest."""
    with tarfile.open(file) as archive:
        members = [(member, archive.extractfile(member)) for member in archive]
        parts = [(member, b"" if source is None else source.read()) for member, source in members]
    with tarfile.open(file, "w") as archive:
        for member, data in parts:
            if member.name == MANIFEST:
                change(archive)
            archive.addfile(member, io.BytesIO(data))


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[tarfile.TarFile], None]:
    def change(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, target, 1 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"x"))

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (named("../evil"), "would not lie in the node's folder"),
        (named("/tmp/evil"), "would not lie in the node's folder"),
        (named("evil", tarfile.SYMTYPE, "/etc/passwd"), "which no backup has"),
        (named("evil", tarfile.DIRTYPE), "which no backup has"),
        (named("evil"), "damaged: evil is not what was backed up"),
        (named("policy.toml"), "there twice"),
    ],
)
def test_an_archive_that_somebody_has_changed_writes_nothing(
    change: Callable[[tarfile.TarFile], None], why: str, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "evil.tar"
    back_up(folder, file)
    rewritten(file, change)
    refused(file, why)
    assert not (tmp_path / "evil").exists()


def test_an_archive_of_another_format_is_left_to_its_version(folder: Path, tmp_path: Path) -> None:
    back_up(folder, tmp_path / "cloud.tar")
    whole = (tmp_path / "cloud.tar").read_bytes()
    end = b'"records":true,"format":1}'
    assert whole.count(end) == 1
    (tmp_path / "newer.tar").write_bytes(whole.replace(end, b'"records":true,"format":2}'))
    refused(tmp_path / "newer.tar", "has format 2; this version of Fogline reads 1")

"""Bundles: whole or refused, whatever was done to them on the way."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fogline.governance.bundles.archive import ArchiveLimits, write_archive
from fogline.governance.bundles.bundle import Bundle, open_bundle, pack
from fogline.governance.bundles.manifest import FORMAT, PAYLOAD_TYPE, FileFacts, Manifest
from fogline.governance.errors import BundleError
from fogline.governance.signatures.signing import SigningKey, sign
from tests.governance.conftest import JOB

CODE = b"def make():\n    return None\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "parts").mkdir(parents=True)
    (folder / "vibration.py").write_bytes(CODE)
    (folder / "parts" / "net.py").write_bytes(b"x = 1\n" * 50)
    return folder


@pytest.fixture
def packed(source: Path, ana: SigningKey) -> bytes:
    return pack(JOB, source, sorted(source.rglob("*.py")), ana, 5.0)


def opened(folder: Path, data: bytes, limits: ArchiveLimits | None = None) -> Bundle:
    path = folder / "bundle.zip"
    path.write_bytes(data)
    return open_bundle(path, limits or ArchiveLimits())


def signed(key: SigningKey, files: Mapping[str, bytes], job: str = JOB, **changes: object) -> bytes:
    """A manifest as an enemy with a key of his own would sign it."""
    facts = {name: FileFacts(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    manifest = Manifest(FORMAT, job, "vibration:make", facts, key.signer, 5.0)
    return sign(PAYLOAD_TYPE, msgspec.json.encode(msgspec.structs.replace(manifest, **changes)), key)


def made(key: SigningKey, files: Mapping[str, bytes], **changes: object) -> bytes:
    return write_archive({"manifest.json": signed(key, files, **changes)} | {f"code/{n}": d for n, d in files.items()})  # pyright: ignore[reportArgumentType]


def test_a_bundle_brings_the_code(tmp_path: Path, packed: bytes, ana: SigningKey) -> None:
    bundle = opened(tmp_path, packed)
    assert bundle.digest == hashlib.sha256(packed).hexdigest()
    assert bundle.signer == ana.signer
    assert (bundle.manifest.task, bundle.manifest.job) == ("vibration:make", JOB)
    folder = bundle.unpack(tmp_path / "code")
    assert folder == tmp_path / "code" / bundle.digest
    assert (folder / "vibration.py").read_bytes() == CODE
    assert bundle.unpack(tmp_path / "code") == folder
    assert [path.name for path in (tmp_path / "code").iterdir()] == [bundle.digest]


def test_the_same_files_give_the_same_bytes(source: Path, packed: bytes, ana: SigningKey) -> None:
    assert pack(JOB, source, sorted(source.rglob("*.py"), reverse=True), ana, 5.0) == packed


def test_a_bundle_may_hold_a_job_alone(tmp_path: Path, ana: SigningKey) -> None:
    assert opened(tmp_path, pack(JOB, None, [], ana, 5.0)).manifest.files == {}


def test_what_cannot_travel_is_not_packed(tmp_path: Path, source: Path, ana: SigningKey) -> None:
    (source / ".env").write_text("secret")
    (source / "with space.py").write_text("")
    (source / "VIBRATION.py").write_text("")
    (tmp_path / "outside.py").write_text("secret")
    (source / "link.py").symlink_to(tmp_path / "outside.py")
    file = source / "vibration.py"
    wrong: list[tuple[list[Path], str]] = [
        ([source / ".env"], "cannot be in a bundle"),
        ([source / "with space.py"], "cannot be in a bundle"),
        ([file, source / "VIBRATION.py"], "twice"),
        ([file, file], "one name"),
        ([tmp_path / "outside.py"], "does not lie in"),
        ([source / ".." / "outside.py"], "does not lie in"),
        ([source / "link.py"], "does not lie in"),
        ([source / "nowhere.py"], "cannot be packed"),
        ([source], "cannot"),
    ]
    for files, sentence in wrong:
        with pytest.raises(BundleError, match=sentence):
            pack(JOB, source, files, ana, 5.0)
    endless = ("x = " + "[" * 1900, "#\n" * 40_000, "a" + ".a" * 30_000 + "=1")
    for job in ("", "task = 3", 'task = "rm -rf"', "task = [", *endless):
        with pytest.raises(BundleError, match="job"):
            pack(job, None, [], ana, 5.0)


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_changes_no_code(tmp_path: Path, packed: bytes, at: int, change: int) -> None:
    """Either the bundle is refused, or what it says and holds is what was signed, under another digest."""
    whole = opened(tmp_path, packed)
    data = bytearray(packed)
    data[at % len(data)] ^= change
    try:
        found = opened(tmp_path, bytes(data))
    except BundleError:
        return
    assert found.manifest == whole.manifest
    assert found.digest != whole.digest


@given(st.binary(max_size=2000), st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_bundle_or_an_error(tmp_path: Path, data: bytes, ending: bool) -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, len(data), 0, 0)
    with pytest.raises(BundleError):
        opened(tmp_path, data + (end if ending else b""))


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_part_of_a_bundle_is_refused(tmp_path: Path, packed: bytes, cut: int) -> None:
    for part in (packed[:-cut], packed[cut:], packed + b"x" * cut):
        with pytest.raises(BundleError, match="damaged"):
            opened(tmp_path, part)


@pytest.mark.parametrize(
    "name",
    [
        "../x.py",
        "/x.py",
        "a/../../x.py",
        "a//b.py",
        "./x.py",
        "a/",
        "C:/x.py",
        "a\\..\\x.py",
        "x.py.",
        "ä.py",
        ".x",
        "",
    ],
)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, ana: SigningKey, name: str) -> None:
    with pytest.raises(BundleError):
        opened(tmp_path, made(ana, {name: b"evil"}))


def test_names_that_fall_together_are_refused(tmp_path: Path, ana: SigningKey) -> None:
    for files in ({"A.py": b"1", "a.py": b"2"}, {"a": b"1", "a/b.py": b"2"}, {"A": b"1", "a/b.py": b"2"}):
        with pytest.raises(BundleError, match=r"twice|a file and a folder"):
            opened(tmp_path, made(ana, files))


def raw_zip(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info, data in entries:
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def entry(name: str, attributes: int = (stat.S_IFREG | 0o644) << 16) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = attributes
    return info


def test_links_and_other_kinds_of_entry_are_refused(tmp_path: Path, ana: SigningKey) -> None:
    files = {"a.py": b"/etc/passwd"}
    for attributes in ((stat.S_IFLNK | 0o777) << 16, (stat.S_IFREG | 0o4755) << 16, stat.S_IFDIR << 16, 0x10):
        data = raw_zip([(entry("manifest.json"), signed(ana, files)), (entry("code/a.py", attributes), files["a.py"])])
        with pytest.raises(BundleError, match="no plain file"):
            opened(tmp_path, data)


def test_a_name_that_goes_on_after_its_end_is_refused(tmp_path: Path, ana: SigningKey) -> None:
    files = {"a.py": b"good"}
    data = raw_zip([(entry("manifest.json"), signed(ana, files)), (entry("code/a.py_b"), b"good")])
    with pytest.raises(BundleError, match="no plain file"):
        opened(tmp_path, data.replace(b"code/a.py_b", b"code/a.py\x00b"))


def test_two_entries_with_one_name_are_refused(tmp_path: Path, ana: SigningKey) -> None:
    files = {"a.py": b"good"}
    code = [(entry("code/a.py"), b"good"), (entry("code/a.py"), b"evil")]
    with pytest.raises(BundleError, match="two files with one name"):
        opened(tmp_path, raw_zip([(entry("manifest.json"), signed(ana, files)), *code]))


def test_exactly_the_listed_files_are_there(tmp_path: Path, ana: SigningKey) -> None:
    head = {"manifest.json": signed(ana, {"a.py": b"good"})}
    wrong = {
        "exactly the files": [{}, {"code/a.py": b"good", "code/b.py": b"evil"}, {"a.py": b"good"}],
        "not what its signer signed": [{"code/a.py": b"evil"}, {"code/a.py": b"goo"}],
        "more than is accepted": [{"code/a.py": b"good and evil"}],
    }
    for sentence, archives in wrong.items():
        for files in archives:
            with pytest.raises(BundleError, match=sentence):
                opened(tmp_path, write_archive(head | files))
    with pytest.raises(BundleError, match="lacks"):
        opened(tmp_path, write_archive({"code/a.py": b"good"}))


def test_the_manifest_is_its_signers(tmp_path: Path, ana: SigningKey, mallory: SigningKey) -> None:
    """Mallory signs, and writes Ana's key into the manifest."""
    with pytest.raises(BundleError, match="not signed by anybody"):
        opened(tmp_path, made(mallory, {"a.py": b"evil"}, signer=ana.signer))


def test_the_task_that_is_judged_is_the_task_that_runs(tmp_path: Path, ana: SigningKey) -> None:
    with pytest.raises(BundleError, match="another task"):
        opened(tmp_path, made(ana, {}, job='task = "evil:make"\n'))


def test_another_format_is_refused(tmp_path: Path, ana: SigningKey) -> None:
    with pytest.raises(BundleError, match="format 2"):
        opened(tmp_path, made(ana, {}, format=2))


def test_an_envelope_of_another_type_is_no_manifest(tmp_path: Path, ana: SigningKey) -> None:
    manifest = Manifest(FORMAT, JOB, "vibration:make", {}, ana.signer, 5.0)
    envelope = sign("application/vnd.other", msgspec.json.encode(manifest), ana)
    with pytest.raises(BundleError, match="does not hold what is wanted"):
        opened(tmp_path, write_archive({"manifest.json": envelope}))


def test_bombs_do_not_go_off(tmp_path: Path, ana: SigningKey) -> None:
    zeros = bytes(40 * 1024 * 1024)
    signed_bomb = made(ana, {"a.bin": zeros})
    lying = write_archive({"manifest.json": signed(ana, {"a.bin": b""}), "code/a.bin": zeros})
    manifest_bomb = write_archive({"manifest.json": zeros})
    del zeros
    tracemalloc.start()
    try:
        for data in (signed_bomb, lying, manifest_bomb):
            with pytest.raises(BundleError, match="unpacks to more"):
                opened(tmp_path, data)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_sizes_and_counts_are_bounded(tmp_path: Path, packed: bytes, ana: SigningKey) -> None:
    for limits, sentence in (
        (ArchiveLimits(zip_bytes=100), "at most 100"),
        (ArchiveLimits(files=1), "more than 1 files"),
        (ArchiveLimits(unpacked_bytes=1000), "unpacks to more"),
    ):
        with pytest.raises(BundleError, match=sentence):
            opened(tmp_path, packed, limits)
    with pytest.raises(BundleError, match="more than 2000 files"):
        opened(tmp_path, made(ana, {f"f{i:04}.py": b"" for i in range(2001)}))


def test_the_list_of_files_is_bounded_before_it_is_read(tmp_path: Path, packed: bytes) -> None:
    """Ends that count wrong, and the second end of large archives."""
    end = list(struct.unpack("<4s4H2LH", packed[-22:]))
    for place, value in ((3, 1), (4, 1), (5, 10), (6, 0), (7, 1), (1, 1), (2, 1)):
        changed = [*end[:place], value, *end[place + 1 :]]
        with pytest.raises(BundleError, match="damaged"):
            opened(tmp_path, packed[:-22] + struct.pack("<4s4H2LH", *changed))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    longer = struct.pack("<4s4H2LH", *end[:5], end[5] + 20, *end[6:])
    with pytest.raises(BundleError, match="does not end as a bundle does"):
        opened(tmp_path, packed[:-22] + locator + longer)


def test_a_bundle_that_changes_after_the_check_is_not_unpacked(tmp_path: Path, packed: bytes, ana: SigningKey) -> None:
    bundle = opened(tmp_path, packed)
    bundle.path.write_bytes(made(ana, {"vibration.py": b"evil"}))
    with pytest.raises(BundleError, match="changed after"):
        bundle.unpack(tmp_path / "code")
    assert list((tmp_path / "code").iterdir()) == []


def test_a_missing_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        open_bundle(tmp_path / "nowhere.zip")

"""A version as one file: the same bytes everywhere, and nothing of it is taken unless all of it is right."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fogline.governance.bundles.archive import Form, write_to
from fogline.inference.card import Card
from fogline.registry.archive import FORM, ArchiveError, export_version, import_version
from fogline.registry.catalogue import Catalogue, CatalogueError
from fogline.storage import CorruptBlobError
from tests.registry.versions import FULL, asset, card, full_card, opened, written


@pytest.fixture
def site(tmp_path: Path) -> Catalogue:
    """One that has a version 2 with a file of every kind."""
    catalogue = opened(tmp_path / "here")
    catalogue.publish(card(b"first"), written(tmp_path / "out", b"first"))
    made = full_card(job="j", rounds=7, parent=1, approved=("ana",))
    catalogue.publish(made, written(tmp_path / "out", *FULL.values()))
    return catalogue


@pytest.fixture
def exported(tmp_path: Path, site: Catalogue) -> Path:
    export_version(site, "digits", 2, tmp_path / "digits.fogline")
    return tmp_path / "digits.fogline"


@pytest.fixture
def other(tmp_path: Path) -> Catalogue:
    return opened(tmp_path / "there")


def test_a_version_travels(site: Catalogue, exported: Path, other: Catalogue, tmp_path: Path) -> None:
    other.publish(card(b"theirs"), written(tmp_path / "o", b"theirs"))
    other.publish(card(b"more"), written(tmp_path / "o", b"more"))
    sent, got = site.get("digits", 2), import_version(other, exported)
    assert got.version == 3
    assert other.get("digits", 3) == got
    assert got.lineage.origin == site.asset("digits", 2).digest
    # What only means something at the other site stays there.
    assert (got.lineage.parent, got.lineage.approved, got.deltas) == (0, (), ())
    lineage = msgspec.structs.replace(sent.lineage, origin=got.lineage.origin, parent=0, approved=())
    assert got == msgspec.structs.replace(sent, version=3, lineage=lineage, deltas=())
    for found in got.files():
        other.blobs.verify(found.digest)
    assert not other.blobs.has(asset(FULL["delta"]).digest)
    assert import_version(other, exported).version == 3  # once is enough
    assert import_version(site, exported).version == 3  # at home it is another version


def test_the_same_version_gives_the_same_bytes(site: Catalogue, exported: Path, tmp_path: Path) -> None:
    export_version(opened(tmp_path / "here"), "digits", 2, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == exported.read_bytes()
    with zipfile.ZipFile(exported) as archive:
        assert archive.testzip() is None
        assert archive.read("card.json") == site.get("digits", 2).encoded()
    assert not list(tmp_path.glob("*.part"))


def test_what_cannot_be_exported(site: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no version 9"):
        export_version(site, "digits", 9, tmp_path / "x")
    with pytest.raises(ArchiveError, match="cannot be written: No such file"):
        export_version(site, "digits", 2, tmp_path / "missing" / "x")
    site.blobs.path(asset(FULL["graph"]).digest).write_bytes(b"damaged")
    with pytest.raises(CorruptBlobError):
        export_version(site, "digits", 2, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: Mapping[str, bytes], form: Form = FORM) -> bytes:
    out = io.BytesIO()
    write_to(out, {name: [data] for name, data in files.items()}, form)
    return out.getvalue()


def refused(catalogue: Catalogue, path: Path, data: bytes, why: str = "") -> None:
    """Nothing of it is taken."""
    path.write_bytes(data)
    before = set(catalogue.blobs.all())
    with pytest.raises(ArchiveError, match=why):
        import_version(catalogue, path)
    assert set(catalogue.blobs.all()) == before
    assert catalogue.models() == []


def test_files_must_be_exactly_those_of_the_card(exported: Path, other: Catalogue) -> None:
    files = entries(exported)
    for name in files:
        refused(other, exported, zipped({n: d for n, d in files.items() if n != name}), "lacks|exactly")
    for extra in ("blobs/" + "ab" * 32, "../up", "/etc/passwd", "blobs/../../up", "card.json2"):
        refused(other, exported, zipped(files | {extra: b"x"}), "exactly the files that its card names")
    refused(other, exported, zipped(dict(reversed(files.items()))), "in their order")


def test_every_file_must_have_its_digest_and_size(exported: Path, other: Catalogue) -> None:
    files = entries(exported)
    for name, data in files.items():
        if name == "card.json":
            continue
        refused(other, exported, zipped(files | {name: data + b"x"}), "unpacks to more")
        if data:
            refused(other, exported, zipped(files | {name: data[:-1] + b"\xff"}), "is damaged")
            refused(other, exported, zipped(files | {name: data[:-1]}), "is damaged")


def test_a_card_that_is_none_is_refused(exported: Path, other: Catalogue) -> None:
    files = entries(exported)
    paths = files["card.json"].replace(asset(FULL["graph"]).digest.encode(), b"../../../../etc/passwd")
    for body in (b"", b"{}", b"[" * 100_000, paths, files["card.json"].replace(b'"digits"', b'"../up"')):
        refused(other, exported, zipped(files | {"card.json": body}), "model card cannot be read")
    newer = files["card.json"].replace(b'"format":1', b'"format":2')
    refused(other, exported, zipped(files | {"card.json": newer}), "has format 2")
    refused(other, exported, zipped(files | {"card.json": b" " * (2 << 20)}), "unpacks to more")


def test_two_sizes_of_one_file_are_refused(exported: Path, other: Catalogue) -> None:
    weights = asset(b"weights")
    lying = msgspec.structs.replace(weights, size=3)
    body = card(b"weights", graph=lying).encoded()
    refused(other, exported, zipped({"card.json": body, f"blobs/{weights.digest}": b"weights"}), "exactly")


def twins(files: Mapping[str, bytes]) -> bytes:
    """Two files with one name."""
    out = io.BytesIO(zipped(files))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(out, "a") as archive:
        archive.writestr(archive.getinfo("card.json"), b"{}")
    return out.getvalue()


def bomb(files: Mapping[str, bytes]) -> bytes:
    return zipped(dict(files) | {"card.json": bytes(100 << 20)}, FORM._replace(compression=zipfile.ZIP_DEFLATED))


def linked(files: Mapping[str, bytes]) -> bytes:
    """A file that is a link."""
    out = io.BytesIO(zipped(files))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo("blobs/link", (1980, 1, 1, 0, 0, 0))
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def crowded(files: Mapping[str, bytes]) -> bytes:
    return zipped(dict(files) | {f"blobs/{i}": b"" for i in range(100)})


@pytest.mark.parametrize(
    ("trick", "why"),
    [(twins, "two files with one name"), (bomb, "no plain file"), (linked, "no plain file"), (crowded, "more than 32")],
)
def test_tricks_with_zips_are_refused(
    exported: Path, other: Catalogue, trick: Callable[[Mapping[str, bytes]], bytes], why: str
) -> None:
    data = trick(entries(exported))
    tracemalloc.start()
    refused(other, exported, data, why)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_file_that_is_too_large_is_refused(exported: Path, other: Catalogue) -> None:
    size = exported.stat().st_size
    with pytest.raises(ArchiveError, match=f"has {size} bytes; at most {size - 1} are accepted"):
        import_version(other, exported, size - 1)
    assert import_version(other, exported, size).version == 1


def test_what_is_no_file_is_refused(tmp_path: Path, other: Catalogue) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ArchiveError, match="cannot be read"):
            import_version(other, path)


@given(st.data())
@settings(derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_refused_or_changes_nothing(exported: Path, other: Catalogue, data: st.DataObject) -> None:
    whole = exported.read_bytes()
    damaged = bytearray(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del damaged[place:]
    else:
        damaged[place] ^= data.draw(st.integers(1, 255))
    path = exported.with_name("damaged")
    path.write_bytes(damaged)
    try:
        got: Card = import_version(other, path)
    except ArchiveError:
        return
    # A byte that means nothing, such as the time in a file's own header; or another card, as whole as the first.
    for found in got.files():
        other.blobs.verify(found.digest)
    assert got.weights == asset(FULL["weights"])


def test_an_import_goes_on_where_it_was_cut_off(exported: Path, other: Catalogue) -> None:
    weights = FULL["weights"]
    with other.blobs.writer(asset(weights).digest, len(weights)) as writer:
        writer.write(weights[:123])
    assert import_version(other, exported).version == 1
    assert other.blobs.path(asset(weights).digest).read_bytes() == weights

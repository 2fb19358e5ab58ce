"""The catalogue: numbers are given once, blobs are there before versions and go after them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from fogline.inference.card import CardError, Lineage
from fogline.registry.catalogue import Catalogue, CatalogueError
from fogline.storage import BlobRef, Blobs, Database, StorageError
from tests.patience import PATIENCE
from tests.registry.versions import FULL, asset, card, full_card, opened, written


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return opened(tmp_path)


def publish(catalogue: Catalogue, folder: Path, weights: bytes = b"weights", **facts: Any) -> int:
    return catalogue.publish(card(weights, **facts), written(folder / "out", weights)).version


def make_old(catalogue: Catalogue) -> None:
    for digest in catalogue.blobs.all():
        os.utime(catalogue.blobs.path(digest), (1, 1))


def test_a_version_is_there_with_all_its_files(tmp_path: Path, catalogue: Catalogue) -> None:
    files = written(tmp_path / "out", *FULL.values())
    published = catalogue.publish(full_card(), files)
    assert published.version == 1
    again = opened(tmp_path)
    assert again.models() == ["digits"]
    assert again.versions("digits") == [published]
    assert again.get("digits", 1) == again.latest("digits") == published
    own = again.asset("digits", 1)
    assert again.card(own.digest) == published
    assert again.blobs.path(own.digest).read_bytes() == published.encoded()
    assert again.digests() == {own.digest, *(asset(data).digest for data in FULL.values())}
    for data in FULL.values():
        assert again.blobs.path(asset(data).digest).read_bytes() == data
    assert not any(path.exists() for path in files.values())  # moved, not copied


def test_numbers_count_up_for_each_model(tmp_path: Path, catalogue: Catalogue) -> None:
    assert [publish(catalogue, tmp_path, bytes([i])) for i in range(12)] == list(range(1, 13))
    assert publish(catalogue, tmp_path, model="other") == 1
    assert catalogue.models() == ["digits", "other"]
    assert [c.version for c in catalogue.versions("digits")] == list(range(1, 13))  # not 1, 10, 11 …
    assert catalogue.latest("digits").version == 12


def test_a_job_is_published_once_for_each_round(tmp_path: Path, catalogue: Catalogue) -> None:
    assert publish(catalogue, tmp_path, b"a", job="j1", rounds=5) == 1
    assert publish(catalogue, tmp_path, b"a", job="j1", rounds=10) == 2
    assert publish(opened(tmp_path), tmp_path, b"b", job="j1", rounds=5) == 1
    assert publish(catalogue, tmp_path, b"b", job="j2", rounds=5) == 3
    assert publish(catalogue, tmp_path, b"b", job="j1", rounds=5, model="other") == 1
    # Without a job nobody can tell.
    assert [publish(catalogue, tmp_path, b"a") for _ in "ab"] == [4, 5]


@pytest.mark.parametrize("same", [False, True])
def test_writers_at_once_get_different_numbers(tmp_path: Path, same: bool) -> None:
    writers, each = 4, 1 if same else 6
    start = Barrier(writers)
    opened(tmp_path)

    def work(writer: int) -> list[int]:
        own = opened(tmp_path)  # as another process has it
        start.wait(PATIENCE)
        job = "one" if same else f"job{writer}"
        return [publish(own, tmp_path / str(writer), b"w", job=job, rounds=r) for r in range(1, each + 1)]

    with ThreadPoolExecutor(writers) as pool:
        given = [n for numbers in pool.map(work, range(writers)) for n in numbers]
    if same:
        assert given == [1] * writers
        assert len(opened(tmp_path).versions("digits")) == 1
    else:
        assert sorted(given) == list(range(1, writers * each + 1))
        lineages = {(c.lineage.job, c.lineage.rounds) for c in opened(tmp_path).versions("digits")}
        assert len(lineages) == writers * each


class Crash(BaseException):
    """The process dies here."""


STEPS = [(Blobs, "adopt"), (Blobs, "put"), (Database, "put"), (Database, "swap")]


@pytest.mark.parametrize(("kind", "step"), STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_step_leaves_a_whole_version_or_none(
    tmp_path: Path, kind: type, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = written(tmp_path / "out", *FULL.values())
    whole = getattr(kind, step)

    def dying(*arguments: Any) -> None:
        if after:
            whole(*arguments)
        raise Crash

    monkeypatch.setattr(kind, step, dying)
    with pytest.raises(Crash):
        opened(tmp_path).publish(full_card(job="j", rounds=3), files)
    monkeypatch.undo()
    catalogue = opened(tmp_path)
    there = catalogue.models()
    assert there == (["digits"] if (step, after) == ("swap", True) else [])
    for digest in catalogue.digests():
        catalogue.blobs.verify(digest)
    # Whoever died does it again, with the files that are left.
    assert catalogue.publish(full_card(job="j", rounds=3), files).version == 1
    assert [c.version for c in catalogue.versions("digits")] == [1]
    for digest in catalogue.digests():
        catalogue.blobs.verify(digest)
    assert len(catalogue.digests()) == 1 + len(FULL)


def test_a_full_disk_publishes_nothing(tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "put", full)
        with pytest.raises(StorageError):
            publish(catalogue, tmp_path)
    assert catalogue.models() == []
    assert publish(catalogue, tmp_path) == 1


def test_files_must_be_those_that_the_card_names(tmp_path: Path, catalogue: Catalogue) -> None:
    wrong = written(tmp_path, b"other")[asset(b"other").digest]
    with pytest.raises(CatalogueError, match=r"is not the file [0-9a-f]{12}… that the card of digits names"):
        catalogue.publish(card(), {asset(b"weights").digest: wrong})
    assert wrong.read_bytes() == b"other"
    with pytest.raises(CatalogueError, match=r"names a file .* that is not here"):
        catalogue.publish(card(), {})
    with pytest.raises(CatalogueError, match="that is not here"):
        catalogue.publish(card(), {asset(b"weights").digest: tmp_path / "missing"})
    assert catalogue.models() == []
    assert not list(catalogue.blobs.all())


def test_a_card_that_nobody_could_read_is_not_published(tmp_path: Path, catalogue: Catalogue) -> None:
    for model in ("../up", "a/b", "a b", ""):
        with pytest.raises(CardError):
            publish(catalogue, tmp_path, model=model)
    assert not list(catalogue.blobs.all())


def test_errors_say_what_there_is(tmp_path: Path, catalogue: Catalogue) -> None:
    with pytest.raises(CatalogueError, match=r"^There is no model 'digits' here\.$"):
        catalogue.versions("digits")
    for i in range(3):
        publish(catalogue, tmp_path, bytes([i]))
    with pytest.raises(CatalogueError, match=r"There is no model 'digit' here; did you mean 'digits'\?"):
        catalogue.latest("digit")
    with pytest.raises(CatalogueError, match="There is no model 'zzz' here; there are digits"):
        catalogue.get("zzz", 1)
    with pytest.raises(CatalogueError, match=r"There is no model 'a\\nb' here"):
        catalogue.get("a\nb", 1)
    with pytest.raises(CatalogueError, match="Model 'digits' has no version 4; there are 1, 2, 3"):
        catalogue.get("digits", 4)
    with pytest.raises(CatalogueError, match="No version here has the card abababababab…"):
        catalogue.card("ab" * 32)
    with pytest.raises(CatalogueError, match="No version here has the card"):
        catalogue.card(asset(b"\0").digest)  # a file of a version, but no card


def test_who_asks_whether_a_blob_belongs_to_a_version_hears_of_all_changes(tmp_path: Path) -> None:
    here, elsewhere = opened(tmp_path), opened(tmp_path)
    digest = asset(b"weights").digest
    assert not here.names(digest)
    publish(elsewhere, tmp_path)
    assert here.names(digest)
    assert here.names(here.asset("digits", 1).digest)
    assert not here.names(asset(b"another").digest)
    assert not here.names("../../etc/passwd")
    elsewhere.forget("digits", 1)
    assert not here.names(digest)
    assert here.models() == []


def test_names_reads_versions_only_when_they_change(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(catalogue, tmp_path)
    assert catalogue.names(asset(b"weights").digest)
    whole, kinds = Database.all, list[str]()

    def counting(database: Database, kind: str) -> list[tuple[str, bytes]]:
        kinds.append(kind)
        return whole(database, kind)

    monkeypatch.setattr(Database, "all", counting)
    for _ in range(5):
        catalogue.names("ab" * 32)
    assert kinds == ["models"] * 5


def test_a_number_is_never_given_again(tmp_path: Path, catalogue: Catalogue) -> None:
    publish(catalogue, tmp_path, b"a")
    publish(catalogue, tmp_path, b"b", job="j", rounds=1)
    catalogue.forget("digits", 2)
    assert [c.version for c in catalogue.versions("digits")] == [1]
    with pytest.raises(CatalogueError, match="no version 2; there are 1"):
        catalogue.get("digits", 2)
    with pytest.raises(CatalogueError, match="no version 2"):
        catalogue.forget("digits", 2)
    assert publish(opened(tmp_path), tmp_path, b"b", job="j", rounds=1) == 3
    catalogue.forget("digits", 1)
    catalogue.forget("digits", 3)
    assert catalogue.models() == []
    assert publish(catalogue, tmp_path, b"c") == 4


def test_withdrawn_blobs_go_when_nobody_needs_them(tmp_path: Path, catalogue: Catalogue) -> None:
    shared, journaled, foreign = b"shared graph", b"of a job", b"of somebody else"
    for weights in (b"one", b"two"):
        files = written(tmp_path / "out", weights, shared, journaled)
        catalogue.publish(card(weights, graph=asset(shared), golden=asset(journaled)), files)
    kept = asset(journaled)
    Database.append(catalogue._database, "journal", [], {"model": BlobRef(kept.digest, kept.size, "model")})
    catalogue.blobs.put(foreign)
    make_old(catalogue)
    first = catalogue.asset("digits", 1).digest
    catalogue.forget("digits", 1)
    has = catalogue.blobs.has
    assert not has(asset(b"one").digest)
    assert not has(first)
    assert all(has(asset(data).digest) for data in (b"two", shared, journaled, foreign))
    catalogue.forget("digits", 2)
    assert set(catalogue.blobs.all()) == {kept.digest, asset(foreign).digest}


def test_a_blob_that_is_about_to_be_published_again_stays(tmp_path: Path, catalogue: Catalogue) -> None:
    publish(catalogue, tmp_path, b"a")
    make_old(catalogue)
    # Somebody has put its files, and is killed by us before the record: they are young.
    catalogue.blobs.put(b"a")
    own = catalogue.asset("digits", 1).digest
    catalogue.forget("digits", 1)
    assert catalogue.blobs.has(asset(b"a").digest)
    assert not catalogue.blobs.has(own)
    make_old(catalogue)
    opened(tmp_path).collect()
    assert not list(catalogue.blobs.all())


def test_a_crash_while_a_version_is_withdrawn_is_made_good(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: object) -> None:
        raise Crash

    publish(catalogue, tmp_path, b"a")
    make_old(catalogue)
    for step, gone in (("swap", False), ("delete", True)):
        with monkeypatch.context() as patch:
            patch.setattr(Database, step, dying)
            with pytest.raises(Crash):
                catalogue.forget("digits", 1)
        assert opened(tmp_path).models() == ([] if gone else ["digits"])
        catalogue.collect()
        assert catalogue.blobs.has(asset(b"a").digest) is not gone


def test_a_version_of_the_same_card_elsewhere_is_known_by_its_origin(tmp_path: Path, catalogue: Catalogue) -> None:
    for _ in "ab":
        published = catalogue.publish(
            card(b"w", lineage=Lineage(job="j", rounds=2, origin="ab" * 32)), written(tmp_path / "o", b"w")
        )
        assert published.version == 1
    assert publish(catalogue, tmp_path, b"w", job="j", rounds=2) == 2

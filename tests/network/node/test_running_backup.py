"""A backup of a node that runs is what ``kill -9`` would have left at one instant, whenever the node writes."""

from __future__ import annotations

import hashlib
import math
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fogline.governance.audit_log.audit_log import AuditLog
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.identity import Identity
from fogline.governance.subject import Subject
from fogline.inference.personal_parts import PersonalParts
from fogline.network.cloud.cloud import create
from fogline.network.node.backups import image
from fogline.network.node.backups.files import BackupError, files_of, is_loose
from fogline.network.node.backups.image import SMALL, FolderImage, take_image
from fogline.privacy.accounting.events import Gaussian, Repeated
from fogline.privacy.accounting.ledger import Charge, PrivacyLedger
from fogline.storage import BlobRef, StorageError, open_blobs, open_database
from fogline.storage.atomic import write_file
from fogline.storage.pinned import PinnedRecords

JOB, MODELS = "j-1", "version"
AROUND = 32
"""Steps in which a node writes everything that it has, once at least."""
LARGE = 2 * SMALL
TABLES = ("streams", "stream_values", "documents", "topics")
"""Of the records; lines of the other two are only ever added, and these say how many there are."""
DIGESTS: dict[tuple[int, int, int], str] = {}


class Writer:
    """A node's program, as far as it writes: step by step, so that a backup can come between any two.

    A step that needs the records while they stand still waits, and so does all that comes after it.
    """

    def __init__(self, folder: Path) -> None:
        create(folder)
        for unused in ("operator", "release-keys"):
            shutil.rmtree(folder / unused)
        self.folder = folder
        self.authority = Authority.load(folder / "authority")
        self.identity = Identity.load(folder / "identity")
        self.database = open_database(folder / "records.sqlite", patience=0.0)
        self.blobs, self.models = open_blobs(folder / "blobs"), open_blobs(folder / "models")
        self.audit = AuditLog("cloud", self.database)
        self.ledger = PrivacyLedger(folder / "privacy.jsonl")
        self.parts = PersonalParts(folder / "personal")
        for name in ("runs/j-1", "runs/j-2", "logs", "drafts", "samples"):
            (folder / name).mkdir(parents=True)
        (folder / "runs" / JOB / "metrics.jsonl").write_bytes(b"{}\n" * SMALL)
        self.states: set[str] = set()
        """What was, after every step."""
        self.among_files = False
        """Whether the next steps need no records, and so do not wait for them."""
        self._steps = self._all()
        self._next: Callable[[], object] | None = None
        self.was()

    def was(self) -> None:
        self.states.add(state(self.folder))

    def step(self) -> bool:
        """Do the next step; False if it has to wait."""
        if self._next is None:
            self.among_files = False
            self._next = next(self._steps)
        try:
            self._next()
        except StorageError as error:
            assert "is locked by another process" in str(error)  # noqa: PT017 - anything else is no waiting
            return False
        self._next = None
        self.was()
        return True

    def _all(self) -> Iterator[Callable[[], object]]:
        number = 0
        while True:
            number += 1
            yield from self._updates(number)
            yield from self._privacy(number)
            self.among_files = True
            yield from self._belonging(number)
            yield from self._results(number)
            yield from self._versions(number)

    def _updates(self, number: int) -> Iterator[Callable[[], object]]:
        """Blobs before the records that name them, and gone after."""
        for size in (LARGE, 100):
            data = hashlib.sha256(str(number).encode()).digest() * (size // 32)
            made = BlobRef(hashlib.sha256(data).hexdigest(), len(data), "update")
            yield lambda data=data: self.blobs.put(data)
            yield lambda made=made: self.database.append(JOB, [b"came"], {"update": made})
            yield lambda: self.database.append(JOB, [b"folded"], {"update": None})
            yield lambda made=made: self.blobs.delete(made.digest)

    def _privacy(self, number: int) -> Iterator[Callable[[], object]]:
        """First the ledger, then what it is charged for; and both are told of in the audit log."""
        events = (Repeated(Gaussian(50.0), number),)
        yield lambda: self.ledger.charge(Charge(JOB, "device", number, events, 1e-5))
        yield lambda: self.audit.add("privacy.spent", "cloud", JOB, entry=number)
        yield self.audit.write
        yield lambda: self.database.put("left", JOB, str(number).encode())

    def _belonging(self, number: int) -> Iterator[Callable[[], object]]:
        """Files that are only right together."""
        key = Identity.create_key(self.folder / "identity")
        certificate = self.authority.issue(key.csr(), Subject("cloud", "cloud"), 90.0)
        yield lambda: key.install(certificate, self.authority.root_pem)
        yield lambda: write_file(self.folder / "policy.toml", f"# {number}\n")
        yield lambda: write_file(self.folder / "policy.toml.sig", f"of # {number}\n")
        draft = self.folder / "drafts" / "part"
        yield lambda: (draft.write_bytes(os.urandom(10)), self.parts.keep("m", draft))

    def _results(self, number: int) -> Iterator[Callable[[], object]]:
        """A run's folder: rows that are added, files that are replaced; and what is forgotten."""
        run, old, logs = self.folder / "runs" / JOB, self.folder / "runs" / "j-2", self.folder / "logs"
        yield lambda: added(run / "metrics.jsonl", b'{"round": 1}\n')
        yield lambda: write_file(run / "model.safetensors", os.urandom(LARGE))
        yield lambda: added(logs / f"{JOB}.log", b"said\n")
        yield lambda: write_file(self.folder / "samples" / f"{number % 2}.sample", b"x")
        yield lambda: (old.mkdir(exist_ok=True), write_file(old / "run.json", str(number)))
        yield lambda: self.database.put("job", "j-2", b"over")
        yield lambda: shutil.rmtree(old)
        yield lambda: (logs / f"{JOB}.log").unlink()
        yield lambda: self.database.delete("job", "j-2")

    def _versions(self, number: int) -> Iterator[Callable[[], object]]:
        """Models that are published, and withdrawn."""
        data = os.urandom(LARGE)
        digest = hashlib.sha256(data).hexdigest()
        yield lambda: self.models.put(data)
        yield lambda: self.database.put(MODELS, "m", digest.encode())
        yield lambda: self.database.note("news", str(number).encode())
        yield lambda: self.database.delete(MODELS, "m")
        yield lambda: self.models.delete(digest)


def added(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def state(folder: Path) -> str:
    """All that must fit together, as one digest."""
    found = hashlib.sha256()
    with closing(sqlite3.connect(folder / "records.sqlite")) as records:
        for table in TABLES:
            found.update(repr(records.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()).encode())
    for name in files_of(folder):
        if not is_loose(name) and not name.startswith("records"):
            found.update(f"{name} {digest_of(folder / name)}".encode())
    return found.hexdigest()


def digest_of(path: Path) -> str:
    facts = path.stat()
    key = facts.st_ino, facts.st_size, facts.st_mtime_ns
    if key not in DIGESTS:
        DIGESTS[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return DIGESTS[key]


def backed_up(writer: Writer, to: Path, at_step: Callable[[int], None]) -> int:
    """Take a backup, with something done after each of its steps; how many there were."""
    staging, records = writer.folder / ".backup", to / "records.sqlite"
    staging.mkdir()
    to.mkdir()
    taking, steps = FolderImage(writer.folder, staging), 0
    for steps, _ in enumerate(take_image(taking, writer.folder / "records.sqlite", records), 1):
        at_step(steps)
    for name, taken in taking.files.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(taken.path.read_bytes()[: taken.size])
        (to / name).chmod(taken.path.stat().st_mode & 0o777)
    shutil.rmtree(staging)
    return steps


def check(writer: Writer, to: Path) -> None:
    """It is one of the states that were, and all that its records name is there."""
    assert state(to) in writer.states
    with open_database(to / "records.sqlite") as database:
        blobs, models = open_blobs(to / "blobs"), open_blobs(to / "models")
        for digest in database.digests():
            blobs.verify(digest)
        for _, digest in database.all(MODELS):
            models.verify(digest.decode())
        left, ledger = database.get("left", JOB), PrivacyLedger(to / "privacy.jsonl")
        assert ledger.trainings(JOB) >= int(left or b"0")
        AuditLog("cloud", database)
    Identity.load(to / "identity")
    shutil.rmtree(to)


@pytest.fixture(scope="module", autouse=True)
def neither_clock_nor_power_cut() -> Iterator[None]:
    """What is written here need not outlive the machine: hundreds of waits for the disk would show nothing. However
    slow it is, the records stand still for as long as the writer takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(image, "STILL", math.inf)
        yield


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    made = Writer(tmp_path_factory.mktemp("node") / "cloud")
    made.database._engine._connection.execute("PRAGMA synchronous = OFF")  # type: ignore[attr-defined]  # pyright: ignore
    for _ in range(40):
        assert made.step()
    return made


@pytest.mark.parametrize("seed", [1, 2])
def test_a_node_that_writes_all_the_time_is_copied_as_it_was_once(writer: Writer, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)

    def some(_: int) -> None:
        for _ in range(chance.choice((0, 0, 0, 0, 0, 0, 0, 1, 2, 5, AROUND))):
            if not writer.step():
                break

    for _ in range(4):
        backed_up(writer, tmp_path / "copy", some)
        check(writer, tmp_path / "copy")


def test_whatever_a_node_writes_between_two_steps(writer: Writer, tmp_path: Path) -> None:
    at, steps = 0, 1
    while at < steps:
        at += 1
        while not writer.among_files:
            writer.step()

        def burst(step: int, when: int = at) -> None:
            for _ in range(AROUND):
                if step != when or not writer.step():
                    break

        steps = backed_up(writer, tmp_path / "copy", burst)
        check(writer, tmp_path / "copy")
    assert at > 25


def test_a_node_waits_for_records_only_while_they_stand_still(writer: Writer, tmp_path: Path) -> None:
    waited: list[bool] = []

    def put() -> bool:
        try:
            writer.database.put("x", "y", b"z")
        except StorageError:
            return False
        return True

    backed_up(writer, tmp_path / "copy", lambda _: waited.append(not put()))
    first, last = waited.index(True), len(waited) - 1 - waited[::-1].index(True)
    assert all(waited[first : last + 1])
    assert first > 8  # Most files are put beside before.
    assert not waited[-1]
    shutil.rmtree(tmp_path / "copy")


def test_a_folder_that_is_never_still_is_refused_and_lets_the_node_go_on(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "STILL", -1.0)
    with pytest.raises(BackupError, match=r"changes its files .* faster than they can be looked at"):
        backed_up(writer, tmp_path / "copy", lambda _: None)
    shutil.rmtree(writer.folder / ".backup")
    assert writer.database.get("x", "y") is None or writer.step()
    writer.database.put("x", "y", b"again")


def test_records_that_are_pinned_are_what_they_were(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    with pytest.raises(StorageError, match="There are no records"):
        PinnedRecords(path)
    with open_database(path, patience=0.0) as database:
        database.put("k", "a", b"before")
        with PinnedRecords(path) as pinned:
            with pytest.raises(StorageError, match="is locked"):
                database.put("k", "a", b"meanwhile")
            pinned.let_go()
            database.put("k", "a", b"after")
            pinned.copy_to(tmp_path / "copy.sqlite")
        with open_database(tmp_path / "copy.sqlite") as copy:
            assert copy.get("k", "a") == b"before"
        assert (tmp_path / "copy.sqlite").stat().st_mode & 0o077 == 0
        assert database.get("k", "a") == b"after"


def test_a_file_without_a_second_name_is_said_to_need_a_stop(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no)
    with pytest.raises(BackupError, match=r"cannot have a second name .*; stop the node first"):
        backed_up(writer, tmp_path / "copy", lambda _: None)
    shutil.rmtree(writer.folder / ".backup")

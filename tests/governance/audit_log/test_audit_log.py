"""Audit logs: what is added is durable and in order, and whatever is changed afterwards is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fogline.governance.audit_log.audit_log import STREAM, AuditLog
from fogline.governance.audit_log.export import ANCHORED, CheckedLog, check_export, export_log
from fogline.governance.audit_log.heads import read_audit_head, sign_audit_head
from fogline.governance.audit_log.proof import check_record, prove_record
from fogline.governance.errors import AuditLogError
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.credentials import Credentials
from fogline.storage import Database, StorageError, open_database
from tests.governance.conftest import Join


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "node.db") as one:
        yield one


@pytest.fixture
def node(authority: Authority, join: Join) -> Credentials:
    return join(authority, "press-7", "device")


def filled(database: Database, count: int = 9, name: str = "press-7") -> AuditLog:
    log = AuditLog(name, database, lambda: 1.0)
    for i in range(log.size, count):
        log.add("job.accepted", name, f"job-{i}", tags=("vibration",), examples=i)
    log.write()
    return log


def exported(log: AuditLog, database: Database, node: Credentials, path: Path) -> Path:
    assert export_log(path, database, node).root == log.head().root
    return path


def checked(lines: list[bytes], root: bytes, path: Path, *witnesses: CheckedLog) -> list[str]:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return list(check_export(path, root, witnesses).problems)


def test_a_log_goes_on_where_it_ended(database: Database) -> None:
    log = filled(database, 5)
    again = AuditLog("press-7", database, lambda: 2.0)
    assert again.head().root == log.head().root
    assert again.add("job.refused", "press-7", "job-9", why="its signer is unknown here") == 5
    assert again.size == 5, "nothing is durable before it is written"
    again.write()
    assert AuditLog("press-7", database).size == 6


def test_a_long_log_is_opened_from_its_frontier(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fogline.governance.audit_log.audit_log.SAVED", 4)
    log = filled(database, 9)
    starts: list[int] = []
    read = database.read
    monkeypatch.setattr(database, "read", lambda stream, start=0: (starts.append(start), read(stream, start))[1])
    assert AuditLog("press-7", database).head().root == log.head().root
    assert starts == [9]


def test_records_that_could_not_be_written_are_written_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog("press-7", database)
    log.add("job.accepted", "press-7", "job-0")
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise StorageError("the disk is full")

        patch.setattr(database, "append", full)
        with pytest.raises(StorageError):
            log.write()
    log.add("job.accepted", "press-7", "job-1")
    log.write()
    assert AuditLog("press-7", database).head().root == log.head().root
    assert log.size == 2


def test_a_database_that_was_changed_is_refused(database: Database) -> None:
    filled(database, 3)
    lines = list(database.read(STREAM))
    database.drop(STREAM)
    database.append(STREAM, [lines[0], lines[2]])
    with pytest.raises(AuditLogError, match=r"was changed at record 1, .* put the newest backup"):
        AuditLog("press-7", database)


def test_an_endless_record_is_refused(database: Database) -> None:
    with pytest.raises(AuditLogError, match="may have 16384 bytes"):
        AuditLog("press-7", database).add("job.refused", "press-7", "job-0", why="x" * 20_000)


def test_a_whole_export_has_no_problems(
    database: Database, node: Credentials, authority: Authority, tmp_path: Path
) -> None:
    log = filled(database)
    found = check_export(exported(log, database, node, tmp_path / "a.audit"), authority.root_pem)
    assert (found.problems, found.head.size, found.head.node) == ((), 9, "press-7")


def test_every_single_bit_counts(database: Database, node: Credentials, authority: Authority, tmp_path: Path) -> None:
    whole = exported(filled(database, 4), database, node, tmp_path / "a.audit").read_bytes()
    first = whole.index(b"\n")
    chance = Random(3)
    places = [*chance.sample(range(8 * first), 120), *range(8 * first, 8 * len(whole), 3)]
    changed = tmp_path / "b.audit"
    for place in places:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        changed.write_bytes(data)
        try:
            assert check_export(changed, authority.root_pem).problems, f"bit {place}"
        except AuditLogError:
            continue


def test_records_that_are_taken_away_moved_or_doubled_are_found(
    database: Database, node: Credentials, authority: Authority, tmp_path: Path
) -> None:
    path = exported(filled(database), database, node, tmp_path / "a.audit")
    head, *lines = path.read_bytes().splitlines()
    for i in range(len(lines)):
        assert checked([head, *lines[:i], *lines[i + 1 :]], authority.root_pem, path), f"without {i}"
        assert checked([head, *lines[: i + 1], *lines[i:]], authority.root_pem, path), f"{i} twice"
    for i in range(len(lines) - 1):
        moved = [*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]]
        assert checked([head, *moved], authority.root_pem, path), f"{i} moved"


def test_a_node_that_writes_its_past_anew_is_convicted_by_another_log(
    authority: Authority, join: Join, tmp_path: Path
) -> None:
    """It can sign a new head over what it likes, but not the one that the fog has kept."""
    node, fog = join(authority, "press-7", "device"), join(authority, "west", "fog")
    with open_database(tmp_path / "true.db") as true, open_database(tmp_path / "west.db") as above:
        log, witness = filled(true), filled(above, 2, "west")
        kept = log.head()
        witness.add(ANCHORED, "press-7", "press-7", size=kept.size, root=kept.root.hex())
        witness.write()
        held = check_export(exported(witness, above, fog, tmp_path / "west.audit"), authority.root_pem)
        assert not held.problems
        filled(true, 12)
        honest = exported(AuditLog("press-7", true), true, node, tmp_path / "true.audit")
        assert check_export(honest, authority.root_pem, [held]).problems == ()
        for count in (7, 12):
            with open_database(tmp_path / f"false{count}.db") as false:
                forged = AuditLog("press-7", false, lambda: 1.0)
                for _ in range(count):
                    forged.add("job.accepted", "press-7", "another job")
                forged.write()
                path = exported(forged, false, node, tmp_path / "false.audit")
                assert check_export(path, authority.root_pem).problems == ()
                (problem,) = check_export(path, authority.root_pem, [held]).problems
                assert "Record 2 of west's log says that this one had 9 records" in problem
                assert ("it has 7 now. If it was exported before that, export it anew." in problem) == (count == 7)


def test_a_record_is_proved_without_the_log(
    database: Database, node: Credentials, authority: Authority, other: Authority
) -> None:
    log = filled(database)
    head, lines = sign_audit_head(log.head(), node), list(database.read(STREAM))
    proof = prove_record(4, lines, head)
    record, said = check_record(proof, authority.root_pem)
    assert (record.about, record.facts["examples"], said.node) == ("job-4", 4, "press-7")
    with pytest.raises(AuditLogError, match="does not hold"):
        check_record(proof, other.root_pem)
    with pytest.raises(AuditLogError, match="press-7 does not have this record 4"):
        check_record(proof.replace(b"job-4", b"job-5"), authority.root_pem)
    with pytest.raises(AuditLogError, match="records 0 to 8, and no record 9"):
        prove_record(9, lines, head)
    with pytest.raises(AuditLogError, match="has no records, so no record 0"):
        prove_record(0, [], head)


def test_a_head_speaks_for_its_own_log_only(database: Database, authority: Authority, join: Join) -> None:
    thief = join(authority, "press-8", "device")
    with pytest.raises(AuditLogError, match="press-7's audit log was signed by press-8"):
        read_audit_head(sign_audit_head(filled(database).head(), thief), authority.root_pem)

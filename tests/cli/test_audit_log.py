"""``fogline audit show``, ``export``, ``verify`` and ``prove``, on a node's folder and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fogline.cli import main
from fogline.cli.commands.audit import log as commands
from fogline.governance.audit_log.audit_log import AuditLog
from fogline.governance.audit_log.export import ANCHORED
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.identity import Identity
from fogline.governance.subject import Role, Subject
from fogline.network.node.process import NodeFolder


def member(authority: Authority, folder: Path, role: Role) -> None:
    key = Identity.create_key(folder / "identity")
    key.install(authority.issue(key.csr(), Subject(folder.name, role), 30), authority.root_pem)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device whose log its fog has seen, and the authority's certificate."""
    monkeypatch.chdir(tmp_path)
    authority = Authority.create(tmp_path / "authority")
    for name, role in (("press-7", "device"), ("west", "fog")):
        member(authority, tmp_path / name, role)
    Path("root.pem").write_bytes(authority.root_pem)
    with NodeFolder(Path("press-7")).open_database() as database, NodeFolder(Path("west")).open_database() as above:
        log, witness = AuditLog("press-7", database, lambda: 1e9), AuditLog("west", above)
        log.add("job.accepted", "press-7", "motors-1", tags=("vibration", "line-2"), bundle="ab" * 32)
        log.add("data.used", "press-7", "motors-1", kind="train", round=0, examples=120)
        log.write()
        head = log.head()
        witness.add(ANCHORED, "west", "press-7", size=head.size, root=head.root.hex())
        witness.write()
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["audit", *arguments])
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["audit", *arguments])
    assert ended.value.code
    return capsys.readouterr().err


def test_a_log_is_shown_exported_and_verified(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "show", "press-7", "--json")
    assert [record["what"] for record in json.loads(shown)] == ["job.accepted", "data.used"]
    assert "tags vibration line-2" in " ".join(said(capsys, "show", "press-7", "--what", "job").split())
    assert "No such record" in said(capsys, "show", "press-7", "--about", "another")
    (here / "new").mkdir()
    with NodeFolder(here / "new").open_database():
        pass
    assert "There is no record in this log yet." in said(capsys, "show", "new")
    for name in ("press-7", "west"):
        said(capsys, "export", name)
    assert "holds: 2 records of press-7, as its node signed" in said(
        capsys, "verify", "press-7.audit", "--root", "root.pem"
    )
    assert "and 1 records of other logs say the same" in said(
        capsys, "verify", "press-7.audit", "--root", "root.pem", "--against", "west.audit"
    )
    assert json.loads(said(capsys, "show", "press-7.audit", "--last", "1", "--json"))[0]["facts"]["examples"] == 120


def test_two_exports_of_one_log_must_begin_alike(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", "press-7", "--to", "early.audit")
    with NodeFolder(Path("press-7")).open_database() as database:
        log = AuditLog("press-7", database)
        log.add("data.used", "press-7", "motors-2", kind="train")
        log.write()
    said(capsys, "export", "press-7", "--to", "late.audit")
    with NodeFolder(Path("press-7")).open_database() as database:
        database.drop("audit log")
        log = AuditLog("press-7", database)
        for _ in range(4):
            log.add("data.used", "press-7", "motors-9", kind="train")
        log.write()
    said(capsys, "export", "press-7", "--to", "forged.audit")
    for one, other in (("early", "late"), ("late", "early")):
        said(capsys, "verify", f"{one}.audit", "--root", "root.pem", "--against", f"{other}.audit")
        assert "Another export says that this log had" in refused(
            capsys, "verify", f"{one}.audit", "--root", "root.pem", "--against", "forged.audit"
        )


def test_every_file_is_read_once(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said(capsys, "export", "press-7", "--to", "early.audit")
    with NodeFolder(Path("press-7")).open_database() as database:
        log = AuditLog("press-7", database)
        log.add("data.used", "press-7", "motors-2", kind="train")
        log.write()
    said(capsys, "export", "press-7", "--to", "late.audit")
    read: list[str] = []
    check = commands.check_export
    monkeypatch.setattr(commands, "check_export", lambda path, *rest: (read.append(path.name), check(path, *rest))[1])
    said(capsys, "verify", "early.audit", "--root", "root.pem", "--against", "late.audit")
    assert read == ["late.audit", "early.audit"]


def test_a_hostile_log_does_nothing_to_who_reads_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has a node's key signs what he likes: a clock beyond all years, and texts that would move the cursor."""
    with NodeFolder(Path("press-7")).open_database() as database:
        log = AuditLog("press-7", database, lambda: 1e300)
        log.add("job.refused", "press-7", "motors\x1b[2J", why="\x1b]0;title\x07")
        log.write()
    said(capsys, "export", "press-7", "--to", "log.audit")
    said(capsys, "prove", "log.audit", "2")
    for told in (said(capsys, "show", "log.audit"), said(capsys, "verify", "log-2.proof", "--root", "root.pem")):
        assert "at no time" in told
        assert r"motors\x1b[2J" in told
        assert told.replace("\n", "").isprintable()


def test_what_is_no_record_is_not_proved(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", "press-7", "--to", "log.audit")
    path = Path("log.audit")
    path.write_bytes(path.read_bytes().replace(b"vibration", b"vibrati\xff\xfe"))
    assert "is no record" in refused(capsys, "prove", "log.audit", "0")
    assert "is no record" in refused(capsys, "show", "log.audit")


def test_one_record_is_proved(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", "press-7", "--to", "log.audit")
    said(capsys, "prove", "log.audit", "1")
    told = said(capsys, "verify", "log-1.proof", "--root", "root.pem")
    assert "record 1 of press-7's 2 is data.used by press-7, about motors-1" in told
    proof = Path("log-1.proof")
    assert "--against is for exports" in refused(
        capsys, "verify", "log-1.proof", "--root", "root.pem", "--against", "log.audit"
    )
    proof.write_bytes(proof.read_bytes().replace(b"120", b"121"))
    assert "does not have this record 1" in refused(capsys, "verify", "log-1.proof", "--root", "root.pem")
    assert "records 0 to 1, and no record 9" in refused(capsys, "prove", "log.audit", "9")


def test_what_does_not_hold_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", "press-7")
    whole = Path("press-7.audit").read_bytes()
    Path("press-7.audit").write_bytes(whole.replace(b'"examples":120', b'"examples":12'))
    assert "not those over which the head was signed" in refused(
        capsys, "verify", "press-7.audit", "--root", "root.pem"
    )
    Authority.create(here / "others")
    (here / "others.pem").write_bytes(Authority.load(here / "others").root_pem)
    Path("press-7.audit").write_bytes(whole)
    assert "does not hold" in refused(capsys, "verify", "press-7.audit", "--root", "others.pem")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("show", "nobody"), "There is no file nobody"),
        (("show", "authority"), "There are no records of a node in authority"),
        (("verify", "root.pem", "--root", "root.pem"), "root.pem is no export of an audit log"),
        (("verify", "press-7.audit", "--root", "nothing.pem"), "nothing.pem cannot be read"),
        (("export", "nobody"), "There is no identity in nobody"),
        (("export", "press-7", "--to", "nowhere/a.audit"), "cannot be written"),
    ],
)
def test_mistakes_are_sentences(
    arguments: tuple[str, ...], sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "press-7.audit" in arguments:
        said(capsys, "export", "press-7")
    assert sentence in refused(capsys, *arguments)
    assert not (here / "nobody").exists()

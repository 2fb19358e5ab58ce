"""``fogline policy``, ``data`` and ``roles``: what an owner does on the own machine, without any cloud."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fogline.cli import main
from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud.records import ApprovalReport
from fogline.network.transport.messages import Blob


@pytest.fixture
def ana(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SigningKey:
    monkeypatch.chdir(tmp_path)
    return SigningKey.create(tmp_path / "ana.key", "ana")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(arguments)
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("fogline: ")
    assert said.count("\n") == 1
    return said


def test_a_policy_is_looked_at_and_signed(ana: SigningKey, capsys: pytest.CaptureFixture[str]) -> None:
    policy = Path("policy.toml")
    assert "nothing may run there" in refused(capsys, "policy", "check")
    policy.write_text(f'[[signer]]\nname = "ana"\nkey = "{ana.signer.key}"\nuses = 3\n[privacy]\nminimum = 4\n')
    said = run(capsys, "policy", "check")
    assert "policy.toml holds now." in said
    assert "3 jobs" in said
    assert "at least 4 devices" in said
    ines = SigningKey.create(Path("owner.key"), "ines")
    Path("owner.pub").write_text(ines.signer.text)
    assert "is not signed by its owner ines" in refused(capsys, "policy", "check")
    assert "has signature 1 of ines" in run(capsys, "policy", "sign", "policy.toml")
    run(capsys, "policy", "check")
    assert "has signature 2 of ana" in run(capsys, "policy", "sign", "policy.toml", "--key", "ana.key")
    assert "is not signed by its owner ines" in refused(capsys, "policy", "check")
    policy.write_text("[valid]\nuntil = 2020-01-01\n")
    run(capsys, "policy", "sign", "policy.toml")
    assert "held until 2020-01-02 00:00" in run(capsys, "policy", "check")
    policy.write_text("[valid]\nuntill = 2020-01-01\n")
    run(capsys, "policy", "sign", "policy.toml")
    assert "'valid.untill' is no key of a policy; did you mean 'until'?" in refused(capsys, "policy", "check")


def test_a_table_becomes_a_schema_and_made_up_data(ana: SigningKey, capsys: pytest.CaptureFixture[str]) -> None:
    device = Path("fogline-device")
    device.mkdir()
    Path("raw.csv").write_text("name,age\nAnn Lee,47\nBob,33\n")
    (device / "policy.toml").write_text(
        '[table.people]\nfile = "raw.csv"\n[table.people.columns]\nage = "round(10)"\nname = "hash"\n'
    )
    assert "without any value of it" in run(capsys, "data", "schema", "people")
    assert not any(value in Path("people.schema.json").read_text() for value in ("Ann", "47", "40"))
    assert "7 made-up rows" in run(capsys, "data", "mock", "people.schema.json", "--rows", "7")
    header, *rows = Path("people.mock.csv").read_text().splitlines()
    assert (header, len(rows)) == ("age,name", 7)
    run(capsys, "data", "view", "people")
    assert Path("people.view.csv").read_text().splitlines()[1].startswith("40,")
    assert Path("people.view.csv").stat().st_mode & 0o077 == 0
    assert "has no table 'poeple'; did you mean 'people'?" in refused(capsys, "data", "schema", "poeple")
    assert "is no schema of a table" in refused(capsys, "data", "mock", "raw.csv", "--rows", "3")


def test_who_may_do_what_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = [line for line in run(capsys, "roles").splitlines() if line.startswith("approve and refuse jobs")]
    assert line.rstrip().endswith("approvals approve")
    assert "data owner" in line


def test_an_owner_is_shown_whole_digests_in_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = "0123456789abcdef" * 4
    report = ApprovalReport("digits-1", "digits", "waiting", "ana", 0.0, Blob(digest, 1), "")
    examined = SimpleNamespace(report=report, facts=(("code", f"{digest}: demo.py"),))
    commands = "fogline.cli.commands.approvals"
    monkeypatch.setattr(f"{commands}.operator_folder", lambda folder: folder)
    monkeypatch.setattr(f"{commands}.asked", lambda folder, ask: examined)
    monkeypatch.setenv("COLUMNS", "60")
    said = run(capsys, "approvals", "show", "digits-1", "--cloud", str(tmp_path))
    assert f"{digest}:demo.py" in "".join(said.partition("code")[2].split())

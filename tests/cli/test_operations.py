"""Commands of those who look after nodes, as far as they need none that runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.json import encode as as_json

from fogline.cli import main
from fogline.cli.connection import facts_of
from fogline.governance.subject import Role
from fogline.network.cloud.cloud import create
from fogline.network.cloud.folder import FACTS, OPERATOR, OperatorFacts
from fogline.network.node.membership import Membership
from fogline.network.node.process import NodeFolder
from fogline.network.node.services.parents import MOVED_FRAME, MOVING
from fogline.network.transport.messages import ParentAddress


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence with which a command ends."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    assert ended.value.code == 2
    return capsys.readouterr().err


def member(folder: Path, role: Role) -> Path:
    folder.mkdir()
    parents = (ParentAddress("fog", "10.0.0.1:7453"), ParentAddress("fog-2", "10.0.0.2:7453"))
    Membership("press-0", role, parents).write(folder)
    return folder


def test_a_backup_is_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(tmp_path / "cloud")
    main(["backup", str(tmp_path / "cloud"), str(tmp_path / "cloud.tar")])
    said = capsys.readouterr().out
    assert said.startswith("The cloud 'cloud' (")
    assert "Its records are not in the folder" in said  # It has never run, so there are none.
    main(["restore", str(tmp_path / "cloud.tar"), str(tmp_path / "new")])
    assert f"Run it: fogline cloud run --folder {tmp_path / 'new'}" in capsys.readouterr().out
    assert "is there already" in refused(capsys, "backup", tmp_path / "cloud", tmp_path / "cloud.tar")
    assert "is not empty" in refused(capsys, "restore", tmp_path / "cloud.tar", tmp_path / "new")
    assert "no node in" in refused(capsys, "backup", tmp_path / "nowhere", tmp_path / "x.tar")


@pytest.mark.parametrize("role", ["fog", "device"])
def test_a_parent_is_found_elsewhere_and_others_stay(
    role: Role, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = member(tmp_path / "node", role)
    main([role, "set-parent", "fog@10.0.0.9:7453", "--folder", str(folder)])
    assert capsys.readouterr().out == "press-0 looks for fog at 10.0.0.9:7453 from its next start on.\n"
    found = Membership.read(folder, role).parents
    assert found == (ParentAddress("fog", "10.0.0.9:7453"), ParentAddress("fog-2", "10.0.0.2:7453"))
    assert "no address" in refused(capsys, role, "set-parent", "fog@somewhere", "--folder", folder)


def test_a_fog_that_is_stopped_is_told_where_it_will_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = member(tmp_path / "fog", "fog")
    main(["fog", "move", "10.0.0.9:7453", "--folder", str(folder)])
    assert "hears that it will be at 10.0.0.9:7453" in capsys.readouterr().out
    place = NodeFolder(folder)
    with place.open_database() as database:
        body = database.get(MOVING, "press-0")
    assert body is not None
    assert MOVED_FRAME.decode(body).address == "10.0.0.9:7453"
    assert "no address" in refused(capsys, "fog", "move", "elsewhere", "--folder", folder)


def test_an_operator_elsewhere_finds_the_cloud_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / OPERATOR).mkdir()
    before = OperatorFacts("cloud", "10.0.0.1:7443", "10.0.0.1:7444", "ana")
    (tmp_path / OPERATOR / FACTS).write_bytes(as_json(before))
    main(["cloud", "set-address", "10.0.0.9:7443", "--cloud", str(tmp_path)])
    assert "asked at 10.0.0.9:7443" in capsys.readouterr().out
    assert facts_of(tmp_path) == OperatorFacts("cloud", "10.0.0.9:7443", "10.0.0.1:7444", "ana")
    assert "no address" in refused(capsys, "cloud", "set-address", "x", "--cloud", tmp_path)


def test_jobs_are_forgotten_by_name_or_by_age(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), ("j-1", "--older", "90d")):
        assert "Name a job, or say with --older" in refused(capsys, "jobs", "forget", *arguments)
    assert "is no duration" in refused(capsys, "jobs", "forget", "--older", "long")


@pytest.mark.parametrize("command", [("simulate", "job.toml"), ("jobs", "watch")])
def test_a_place_for_runs_that_there_is_not_is_named(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "There is no tracker 'wandb'" in refused(capsys, *command, "--to", "wandb=x")
    assert "'tensorboard' names no place" in refused(capsys, *command, "--to", "tensorboard")

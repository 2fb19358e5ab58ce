"""Devices that send under names of their own: these are the nodes' names, whatever each site's data is called there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fogline.compute.effects import CarryOut, makes
from fogline.compute.files import read_group
from fogline.network.worker.job_worker import JobWorker
from fogline.network.worker.requests import Describe, Open
from fogline.nodes.effects import FoldInput, Move, Train
from fogline.nodes.messages import Key

JOB = """
name = "sites"
task = "one_site:task"
rounds = 2
algorithm = "ca2fl"
[local]
learning_rate = 0.1
batch_size = 5
"""
SITES = ("north", "south")


@pytest.fixture
def updates(tmp_path: Path) -> dict[Key, str]:
    """The files of what the cloud has: its first model, and the updates of two sites."""
    (tmp_path / "one_site.py").write_text(
        "from tests.toy import ToyTask, toy_data\n\n\ndef task():\n    return ToyTask(toy_data(1))\n"
    )
    files = {key: str(tmp_path / key.replace("/", "-")) for key in ("cloud@0", "cloud@0/group", *SITES)}
    _worker(tmp_path, "cloud").describe(Describe(files["cloud@0/group"], files["cloud@0"], "cloud@0"))
    for site in SITES:
        effect = Train(0, "cloud@0", site, 0)
        writes = {key: str(tmp_path / f"{site}-{key}") for key in makes(effect)} | {site: files[site]}
        done = _worker(tmp_path, site, depth=1).carry_out(CarryOut(effect, {"cloud@0": files["cloud@0"]}, writes))
        assert done.trained is not None
        assert not done.trained.failure
    return files


def test_sites_whose_data_has_the_same_name_are_remembered_apart(updates: dict[Key, str], tmp_path: Path) -> None:
    assert _kept(updates, tmp_path, SITES) == ({"north", "south"}, ())


def test_who_sends_another_sites_update_changes_nothing_of_it(updates: dict[Key, str], tmp_path: Path) -> None:
    kept, refused = _kept(updates | {"south": updates["north"]}, tmp_path, SITES)
    assert kept == {"north"}
    assert refused == ((1, "Its vector 'update-north' is not under the name of south, who sent it."),)


def _kept(files: dict[Key, str], folder: Path, children: tuple[str, ...]) -> tuple[set[str], object]:
    """Whose updates the cloud remembers after a move, and what it refused."""
    members = tuple(FoldInput(child, 0, child) for child in children)
    move = Move("cloud@0", "cloud@1", members, inside=False, round=0, final=True)
    writes = {key: str(folder / key.replace("/", "-")) for key in makes(move)}
    done = _worker(folder, "cloud").carry_out(CarryOut(move, files, writes, population=2))
    state = read_group(writes["cloud@1/group"]).state
    return {name.removeprefix("kept-") for name in state if name.startswith("kept-")}, done.refused


def _worker(folder: Path, node: str, depth: int = 0) -> JobWorker:
    return JobWorker(Open(str(folder), JOB, depth=depth, node=node, client=node if depth else ""))

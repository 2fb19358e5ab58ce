"""A board of runs' folders follows what is written there, as it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from watchfiles import Change

import fogline
from fogline.dashboard.runs import RunsBoard
from fogline.jobs import Job
from fogline.jobs.errors import JobError
from fogline.jobs.tree import Tier, Tree
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.tree_state import TreeNodes, TreeSnapshot
from tests.dashboard.browser import until
from tests.toy import ToyTask, toy_data


def begun(path: Path, seed: int = 0) -> RunFolder:
    """A run that has begun."""
    folder = RunFolder.create(path, Job(name="demo", task="tasks:digits", rounds=30, seed=seed))
    folder.note_metric("accuracy", "", True)
    return folder


def row(i: int) -> dict[str, float]:
    return {"round": i, "seconds": 2.0 * i, "accuracy": 0.5 + i / 100}


def rows_of(said: dict[str, Any], name: str) -> list[dict[str, float]]:
    """The rows of a run, put together as the page does."""
    rows: list[dict[str, float]] = []
    for key, new in said.items():
        kind, _, rest = key.partition("/")
        run, _, first = rest.rpartition("/")
        if (kind, run) == ("rows", name):
            rows[int(first) :] = new or []
    return rows


def test_a_run_is_followed_round_by_round_to_its_end(tmp_path: Path) -> None:
    async def work() -> None:
        with begun(tmp_path / "run") as folder:
            folder.append(row(1))
            board = RunsBoard([tmp_path / "run"])
            following = asyncio.create_task(board.follow())
            await until(board, lambda said: len(rows_of(said, "run")) == 1)
            folder.append(row(2))
            with folder.metrics.open("a") as file:  # Half a line: the writer was interrupted.
                file.write('{"round": 3, "acc')
            said = await until(board, lambda said: len(rows_of(said, "run")) == 2 and said)
            assert rows_of(said, "run") == [row(1), row(2)]
            assert said["run/run"]["progress"]["status"] == "running"
            assert (said["run/run"]["headline"], said["run/run"]["rounds"]) == ("accuracy", 30)
            folder.mark("finished")
            await until(board, lambda said: said["run/run"]["progress"]["status"] == "finished")
            following.cancel()

    asyncio.run(work())


def test_rows_that_a_resumed_run_takes_back_are_taken_back(tmp_path: Path) -> None:
    async def work() -> None:
        with begun(tmp_path / "run") as folder:
            for i in range(1, 6):
                folder.append(row(i))
            board = RunsBoard([tmp_path / "run"])
            following = asyncio.create_task(board.follow())
            await until(board, lambda said: len(rows_of(said, "run")) == 5)
            again = {**row(3), "accuracy": 0.1}
            folder.truncate(2)
            for one in (again, row(4), row(5), row(6), row(7)):
                folder.append(one)
            said = await until(board, lambda said: len(rows_of(said, "run")) == 7 and said)
            assert rows_of(said, "run")[2] == again
            folder.truncate(2)
            said = await until(board, lambda said: said["run/run"]["progress"]["done"] == 2 and said)
            assert rows_of(said, "run") == [row(1), row(2)]
            following.cancel()

    asyncio.run(work())


def test_a_run_that_begins_in_the_folder_of_runs_appears(tmp_path: Path) -> None:
    async def work() -> None:
        begun(tmp_path / "a").close()
        board = RunsBoard([tmp_path / "a"], tmp_path)
        following = asyncio.create_task(board.follow())
        await until(board, lambda said: "run/a" in said)
        begun(tmp_path / "b", seed=1).close()
        said = await until(board, lambda said: "job/b" in said and said)
        differ = {key for key in said["job/a"] if said["job/a"][key] != said["job/b"][key]}
        assert differ == {"seed"}
        following.cancel()

    asyncio.run(work())


def test_what_is_written_into_a_new_folder_before_the_system_watches_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(*_: object, **__: object) -> AsyncGenerator[set[tuple[Change, str]]]:
        (tmp_path / "b").mkdir()
        yield {(Change.added, str(tmp_path.resolve() / "b"))}
        begun(tmp_path / "b").close()  # Of this nothing is told,
        yield set()  # and nothing more for a while.
        await asyncio.Event().wait()

    monkeypatch.setattr("fogline.dashboard.runs.awatch", told)

    async def work() -> None:
        begun(tmp_path / "a").close()
        board = RunsBoard([tmp_path / "a"], tmp_path)
        following = asyncio.create_task(board.follow())
        await until(board, lambda said: "run/b" in said)
        following.cancel()

    asyncio.run(work())


def test_two_runs_of_one_name_stay_apart(tmp_path: Path) -> None:
    begun(tmp_path / "x" / "run").close()
    begun(tmp_path / "y" / "run", seed=1).close()

    async def work() -> None:
        board = RunsBoard([tmp_path / "x" / "run", tmp_path / "y" / "run"])
        following = asyncio.create_task(board.follow())
        said = await until(board, lambda said: {"run/run", "run/run (2)"} <= said.keys() and said)
        assert (said["run/run"]["seed"], said["run/run (2)"]["seed"]) == (0, 1)
        following.cancel()

    asyncio.run(work())


def test_a_folder_without_a_run_and_a_damaged_one_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="There is no run in"):
        RunsBoard([tmp_path])
    begun(tmp_path / "run").close()
    (tmp_path / "run" / "metrics.jsonl").write_text("no row\n")

    async def work() -> None:
        board = RunsBoard([tmp_path / "run"])
        following = asyncio.create_task(board.follow())
        trouble = await until(board, lambda said: said.get("trouble/run"))
        assert "metrics.jsonl" in trouble
        following.cancel()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", b'{"format": 1, "status": "\\ud800"}'),
        ("run.json", b"[" * 100000),
        ("metrics.jsonl", b'{"round": "\\ud800"}\n'),
        ("result.json", b"\xff"),
        ("result.json", b'{"headline": "x", "metrics": {}}'),
    ],
)
def test_a_damaged_run_hides_no_other(tmp_path: Path, file: str, text: bytes) -> None:
    """Neither one that was there, nor one that comes."""

    async def work() -> None:
        begun(tmp_path / "first").close()
        board = RunsBoard([tmp_path / "first"], tmp_path)
        following = asyncio.create_task(board.follow())
        await until(board, lambda said: "run/first" in said)
        begun(tmp_path / "odd").close()
        (tmp_path / "odd" / file).write_bytes(text)
        begun(tmp_path / "sound").close()
        said = await until(board, lambda said: said.get("trouble/odd") and "run/sound" in said and said)
        assert str(tmp_path / "odd") in said["trouble/odd"]
        assert not following.done()
        following.cancel()

    asyncio.run(work())


def test_a_simulation_says_how_its_nodes_stand(tmp_path: Path, unplotted: None) -> None:
    """Of devices that drop out in half of their rounds some are offline in the end, and nobody trains any more."""
    tree = Tree(cloud=Tier(), fog=Tier(count=2))
    folder = tmp_path / "run"
    result = fogline.simulate(
        ToyTask(toy_data(clients=8)),
        tree=tree,
        rounds=3,
        devices={"dropout": 0.5},
        folder=folder,
        progress=False,
        processes=0,
    )
    nodes = msgspec.json.decode((folder / "nodes.json").read_bytes(), type=TreeNodes)
    tree_now = msgspec.json.decode((folder / "tree.json").read_bytes(), type=TreeSnapshot)
    assert [(node.name, node.parent, node.tier) for node in nodes.aggregators] == [
        ("cloud", "", "cloud"),
        ("fog-0", "cloud", "fog"),
        ("fog-1", "cloud", "fog"),
    ]
    assert len(nodes.devices) == len(nodes.homes) == len(tree_now.states) == 8
    assert set(nodes.homes) == {1, 2}
    assert result.counts["dropped out"] > 0
    assert "o" in tree_now.states
    assert "t" not in tree_now.states
    assert tree_now.round == result.history[-1]["round"]
    assert tree_now.down["fog"] >= result.history[-1]["down/fog"] > 0  # What was lost after the last row, too.
    assert json.loads((folder / "run.json").read_text())["headline"] == result.headline

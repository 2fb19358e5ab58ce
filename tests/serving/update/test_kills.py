"""``kill -9`` of an agent at every write and every effect of an update: it comes back with a good version, at once and
offline, and ends where it would have ended."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from fogline.retries import Backoff
from fogline.serving.update import turn
from tests import warm
from tests.patience import PATIENCE
from tests.serving.update.agent import GOAL, PREPARED, burden, over, prepare, release
from tests.serving.update.updating import Edge, Parent

pytestmark = pytest.mark.slow


def run_agent(folder: Path, scenario: str, at: int) -> int | None:
    """The number of gates; None if it was killed at one."""
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        words = [str(folder), scenario, str(at)]
        agent = warm.start("tests.serving.update.agent:main", words, os.environ, stdout, stderr)
        status = agent.wait(PATIENCE)
        stdout.seek(0)
        stderr.seek(0)
        if status == -signal.SIGKILL:
            return None
        assert status == 0, stderr.read()
        return int(stdout.read())


async def come_back(folder: Path, scenario: str) -> None:
    """After a restart without a parent, and then with one."""
    parent = Parent()
    release(parent, scenario)
    parent.away = True
    edge = Edge(folder, parent)
    burden(edge, scenario)
    async with edge:
        if PREPARED[scenario]:
            assert edge.server.live in (1, 2), "nothing is served"
            assert edge.state.good is not None
        parent.away = False
        edge.fresh()
        await edge.until(lambda edge: over(edge, scenario))
        shadow = {2: "shadow"} if scenario == "shadow" else {}
        assert edge.server.loaded == {GOAL[scenario]: "live"} | shadow
        edge.check_disk()
        what, version = edge.said()[-1]
        expected = {"worse": ("reverted", 2), "shadow": ("shadowing", 2)}
        assert (what, version) == expected.get(scenario, ("committed", GOAL[scenario]))


@pytest.mark.parametrize("scenario", PREPARED)
def test_a_kill_at_any_gate_loses_nothing(tmp_path: Path, scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "UPDATE_AGAIN", Backoff(0.02, 300.0))
    asyncio.run(prepare(tmp_path / "before", scenario))
    at, killed = 0, True
    while killed:
        at += 1
        folder = tmp_path / str(at)
        shutil.copytree(tmp_path / "before", folder)
        killed = run_agent(folder, scenario, at) is None
        asyncio.run(come_back(folder, scenario))
    assert at > 15


@pytest.mark.parametrize("gates", [(3, 5), (9, 4), (14, 7), (20, 3), (25, 10)])
def test_two_kills_end_on_a_good_version(
    tmp_path: Path, gates: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "UPDATE_AGAIN", Backoff(0.02, 300.0))
    folder = tmp_path / "node"
    asyncio.run(prepare(folder, "update"))
    for at in gates:
        assert run_agent(folder, "update", at) is None

    async def after() -> None:
        parent = Parent()
        release(parent, "update")
        async with Edge(folder, parent) as edge:
            assert edge.server.live in (1, 2)
            edge.fresh()
            await edge.until(lambda edge: edge.idle and (edge.committed == 2 or edge.state.refuses(2)))
            assert edge.server.loaded == {1 if edge.state.refuses(2) else 2: "live"}
            edge.check_disk()

    asyncio.run(after())

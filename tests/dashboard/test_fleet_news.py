"""What one who follows a cloud is told: all, in messages that are small enough, then what changes and what is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from fogline.dashboard.cloud import LOGS, CloudBoard
from fogline.monitoring.tree_state import RoundState
from fogline.network.cloud.api.fleet_news import APIECE, follow
from fogline.network.cloud.cloud import create
from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.records import ApprovalReport, LogLine, NodeInfo, Record
from fogline.network.cloud.requests import FleetNews
from fogline.network.transport.messages import Blob, RoundActivity
from fogline.registry.model_report import ModelReport
from fogline.storage import open_database
from tests.dashboard.browser import until
from tests.network.cluster import job
from tests.patience import PATIENCE


def device(i: int, up: bool = True) -> NodeInfo:
    return NodeInfo(f"client-{i}", "device", "cloud", up, 0.0)


def parts(key: str) -> list[str]:
    return key.split("/")


def test_who_is_limited_to_some_nodes_is_told_of_no_other(tmp_path: Path) -> None:
    """Neither of them, nor of what happens to them, nor by name in the rounds of what is above."""

    async def work() -> None:
        store = JobStore(open_database(tmp_path / "records.sqlite"), "cloud")
        store.nodes = {name: NodeInfo(name, "device", "fog", True, 0.0) for name in ("press-1", "saw-1", "saw-2")}
        waits = RoundState(open=True, waits=2, names=("press-1", "saw-1"), need=2)
        store.activity = {(name, "job"): RoundActivity(name, "job", waits) for name in ("cloud", "fog")}
        news = follow(store, "cloud", ("press-*",))

        async def following() -> FleetNews:
            async with asyncio.timeout(PATIENCE):
                return await anext(news)

        first = await following()
        assert [node.name for node in first.nodes] == ["press-1"]
        (activity,) = first.activity
        assert (activity.node, activity.state.names, activity.state.waits) == ("cloud", ("press-1",), 2)
        del store.nodes["saw-1"], store.activity["fog", "job"]
        store.met(NodeInfo("saw-2", "device", "fog", False, 1.0))
        store.met(NodeInfo("press-1", "device", "fog", False, 1.0))
        second = await following()
        assert ([node.name for node in second.nodes], second.forgotten_nodes, second.ended) == (["press-1"], (), ())
        store.approvals_changed()  # A node that must not be named waits: there is a list to be had, without its name.
        third = await following()
        assert (third.jobs, third.nodes, third.approvals) == ((), (), second.approvals + 1)
        store.close()

    asyncio.run(work())


def test_all_then_changes_then_what_is_gone(tmp_path: Path) -> None:
    async def work() -> None:
        store = JobStore(open_database(tmp_path / "records.sqlite"), "cloud")
        store.nodes = {f"client-{i}": device(i) for i in range(APIECE + 5)}
        news = follow(store)

        async def following() -> tuple[list[str], tuple[str, ...]]:
            async with asyncio.timeout(PATIENCE):
                one = await anext(news)
            return [node.name for node in one.nodes], one.forgotten_nodes

        first, second = await following(), await following()
        assert (len(first[0]), len(second[0])) == (APIECE, 5)
        store.nodes["client-3"] = device(3, up=False)
        del store.nodes["client-4"]
        assert await following() == (["client-3"], ("client-4",))
        waiting = asyncio.create_task(following())
        await asyncio.sleep(0)
        store.met(device(7, up=False))
        assert await waiting == (["client-7"], ())
        waiting = asyncio.create_task(following())
        await asyncio.sleep(0)
        store.forget_node("client-8")
        assert await waiting == ([], ("client-8",))
        store.close()

    asyncio.run(work())


def test_only_the_newest_jobs_logs_are_followed(tmp_path: Path) -> None:
    """Of a cloud that has had many jobs; a log that is not shown any more is left, and forgotten."""
    jobs = [f"toy-{i}" for i in range(3 * LOGS)]

    class Cloud:
        """Has many jobs, and a line in the log of each."""

        watched: ClassVar[set[str]] = set()

        async def follow(self) -> AsyncIterator[FleetNews]:
            text = job(rounds=1)
            yield FleetNews(
                tuple(
                    Record(one, one, "running", 0, i, "ana", text, Blob("0" * 64, 1), 0.0) for i, one in enumerate(jobs)
                )
            )
            await asyncio.Event().wait()

        async def watch(self, name: str) -> AsyncIterator[LogLine]:
            self.watched.add(name)
            try:
                yield LogLine(0.0, "cloud", "began")
                await asyncio.Event().wait()
            finally:
                self.watched.remove(name)

        async def approvals(self) -> list[ApprovalReport]:
            return []

        async def models(self) -> list[ModelReport]:
            return []

    @asynccontextmanager
    async def connect() -> AsyncGenerator[Any]:
        yield told

    async def nothing(_: Any) -> None:
        """There are no offline keys."""

    told = Cloud()
    create(tmp_path)
    board = CloudBoard(connect, tmp_path / "operator", "cloud", nothing)

    async def work() -> None:
        following = asyncio.create_task(board.follow())
        newest = set(jobs[-LOGS:])
        await until(board, lambda said: {name for kind, name, *_ in map(parts, said) if kind == "log"} >= newest)
        assert told.watched == newest
        assert not any(board.hub.has(f"log/{one}/0") for one in jobs[:-LOGS])
        following.cancel()

    asyncio.run(work())

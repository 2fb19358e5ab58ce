"""What one who follows a cloud is told: all, in messages that are small enough, then what changes and what is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fogline.monitoring.tree_state import RoundState
from fogline.network.cloud.api.fleet_news import APIECE, follow
from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.records import NodeInfo
from fogline.network.cloud.requests import FleetNews
from fogline.network.transport.messages import RoundActivity
from fogline.storage import open_database
from tests.patience import PATIENCE


def device(i: int, up: bool = True) -> NodeInfo:
    return NodeInfo(f"client-{i}", "device", "cloud", up, 0.0)


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

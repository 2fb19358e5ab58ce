"""What one who follows a cloud is told: all, in messages that are small enough, then what changes and what is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fogline.network.cloud.fleet_news import APIECE, follow
from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.records import NodeInfo
from fogline.storage import open_database
from tests.patience import PATIENCE


def device(i: int, up: bool = True) -> NodeInfo:
    return NodeInfo(f"client-{i}", "device", "cloud", up, 0.0)


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

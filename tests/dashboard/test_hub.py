"""What pages are told: all that is so, then what changes; who reads slowly gets the newest only."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator

from fogline.dashboard.hub import Hub
from tests.patience import PATIENCE


async def read(events: AsyncGenerator[bytes]) -> list[tuple[str, str, object]]:
    """Kind, name and value of each of the next events."""
    async with asyncio.timeout(PATIENCE):
        text = (await anext(events)).decode()
    found = []
    for event in text.split("\n\n")[:-1]:
        kind, data = event.split("\n")
        said = json.loads(data.removeprefix("data: "))
        found.append((kind.removeprefix("event: "), said["name"], said["data"]))
    return found


def test_a_page_gets_all_and_then_what_changes() -> None:
    async def work() -> None:
        hub = Hub()
        hub.tell("run/a", {"round": 1})
        hub.tell("run/b", {"round": 1})
        events = hub.events()
        assert await read(events) == [("run", "a", {"round": 1}), ("run", "b", {"round": 1})]
        hub.tell("run/a", {"round": 1})  # It was so before.
        hub.tell("run/b", {"round": 2})
        assert await read(events) == [("run", "b", {"round": 2})]
        hub.forget("run/a")
        assert await read(events) == [("run", "a", None)]
        late = hub.events()
        assert await read(late) == [("run", "b", {"round": 2})]
        await events.aclose()
        await late.aclose()

    asyncio.run(work())


def test_a_slow_page_gets_the_newest_of_each_and_holds_up_nobody() -> None:
    async def work() -> None:
        hub = Hub()
        hub.tell("tree/a", 0)
        slow = hub.events()
        assert await read(slow) == [("tree", "a", 0)]
        for i in range(1, 1000):
            hub.tell("tree/a", i)
        hub.tell("run/a", "x")
        assert await read(slow) == [("tree", "a", 999), ("run", "a", "x")]
        await slow.aclose()

    asyncio.run(work())


def test_numbers_that_json_has_not_are_null_and_a_name_cannot_break_the_stream() -> None:
    async def work() -> None:
        hub = Hub()
        hub.tell('run/a "b"\n\nevent: x', [math.nan, math.inf, 1.5])
        events = hub.events()
        assert await read(events) == [("run", 'a "b"\n\nevent: x', [None, None, 1.5])]
        await events.aclose()

    asyncio.run(work())


def test_streams_end_when_the_hub_is_closed() -> None:
    async def work() -> None:
        hub = Hub()
        reading = asyncio.create_task(anext(hub.events(), None))
        await asyncio.sleep(0)
        hub.close()
        assert await asyncio.wait_for(reading, PATIENCE) is None

    asyncio.run(work())

"""A device that hangs below another fog for a while and comes back answers what it was asked, or says why not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fogline.network.node.jobs import JobManager
from fogline.network.node.participation.driver import Driver
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import NodeMessage
from fogline.nodes.device import Device
from fogline.nodes.effects import Count, Examine, Train
from fogline.nodes.events import Received, Started, Trained
from fogline.nodes.messages import Key, Message, Report, Work
from fogline.storage import BlobRef, open_blobs, open_database
from tests.patience import PATIENCE


class Place:
    """A device's disk, and what the parents hear of it."""

    def __init__(self, folder: Path) -> None:
        blobs, small = open_blobs(folder / "blobs", reserve=0), open_blobs(folder / "small", reserve=0)
        self.store = ValueStore(blobs, small, folder / "drafts")
        self.database = open_database(folder / "records.sqlite")
        self.started: asyncio.Queue[int] = asyncio.Queue()
        self.done = asyncio.Event()
        self.said: asyncio.Queue[tuple[str, Message]] = asyncio.Queue()

    def value(self, text: str, kind: str) -> BlobRef:
        data = text.encode()
        return BlobRef(self.store.blobs.put(data), len(data), kind, data)

    async def train(self, effect: Train, *_: object) -> tuple[Trained, dict[Key, BlobRef]]:
        self.started.put_nowait(effect.task)
        await self.done.wait()
        return Trained(effect.task, effect.update, 1), {effect.update: self.value(effect.update, "update")}

    def send(self, to: str, said: NodeMessage) -> None:
        self.said.put_nowait((to, said.message))

    def tell(self, count: Count) -> None: ...

    async def need(self, value: BlobRef) -> None: ...

    async def allow(self, effect: Train | Examine, attempt: int) -> str | None: ...

    async def heard(self) -> tuple[str, int, str | None]:
        """The next report: to whom, about which request, and why there is no update."""
        to, said = await asyncio.wait_for(self.said.get(), PATIENCE)
        assert isinstance(said, Report)
        return to, said.task, said.failure

    @asynccontextmanager
    async def below(self, parent: str) -> AsyncGenerator[Driver]:
        """The device's part in its job while it hangs below a parent."""
        computation = SimpleNamespace(train=self.train, close=lambda: None, give_up=lambda task: task.cancel())
        device = Device("client-0", parent)
        driver = Driver("j-1", device, self.database, self.store, cast("Any", computation), self, parent)
        await driver.recover()
        driver.put(Started())
        running = asyncio.create_task(driver.run())
        yield driver
        running.cancel()
        await asyncio.wait((running,))

    async def asked(self, driver: Driver, parent: str, task: int, model: Key) -> None:
        """The parent asks, and training begins."""
        driver.put(Received(parent, Work(task, model, task)), {model: self.value(model, "model")})
        assert await asyncio.wait_for(self.started.get(), PATIENCE) == task


def test_what_it_trained_on_went_with_the_work_of_another_fog(tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path)
        async with place.below("fog-0") as driver:
            await place.asked(driver, "fog-0", 5, "cloud@3")
        async with place.below("fog-1") as driver:
            await place.asked(driver, "fog-1", 9, "cloud@4")
            place.done.set()
            assert await place.heard() == ("fog-1", 9, None)
        async with place.below("fog-0"):
            assert await place.heard() == ("fog-0", 5, "the model is not here: 'cloud@3'")

    asyncio.run(work())


def test_what_it_had_done_for_its_own_fog_is_brought_when_it_is_back(tmp_path: Path) -> None:
    async def work() -> None:
        place = Place(tmp_path)
        place.done.set()
        for parent, task, model in (("fog-0", 5, "cloud@3"), ("fog-1", 9, "cloud@4")):
            async with place.below(parent) as driver:
                await place.asked(driver, parent, task, model)
                assert await place.heard() == (parent, task, None)
        async with place.below("fog-0") as driver:
            assert await place.heard() == ("fog-0", 5, None)
            assert driver.values["fog-0#5"].data == b"fog-0#5"

    asyncio.run(work())


class Leaving:
    """A part in a job whose last write takes a while."""

    job = announcement = "j-1"
    parent, worker_client, over = "fog-0", None, False

    def __init__(self) -> None:
        self.written = asyncio.Event()

    async def leave(self) -> None:
        if not self.over:  # Whoever comes second finds nothing to wait for.
            self.over = True
            await self.written.wait()


def test_parents_that_come_and_go_make_no_second_part_beside_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        manager, leaving = JobManager(cast("Any", SimpleNamespace(name="client-0"))), Leaving()
        begun: list[bool] = []
        monkeypatch.setattr(manager, "_engage_soon", lambda *_: begun.append(leaving.written.is_set()))
        manager.participations["j-1"] = cast("Any", leaving)
        for parent in ("fog-1", "fog-2"):
            manager.connected(parent)
            await asyncio.sleep(0)
        leaving.written.set()
        await asyncio.sleep(0.01)
        assert begun == [True]

    asyncio.run(work())

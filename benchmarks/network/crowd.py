"""Many light devices in one process, see :mod:`benchmarks.network.processes`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.network.lifetime import say, until_closed
from fogline.aggregation import Update
from fogline.compute.effects import CarriedOut, CarryOut
from fogline.compute.files import read_model, write
from fogline.network.node.jobs import JobManager
from fogline.network.node.process import NodeFolder, member
from fogline.network.node.services import jobs
from fogline.network.transport.messages import ParentAddress
from fogline.network.worker.requests import Answer, JobOpened, Request
from fogline.nodes.effects import Train
from fogline.nodes.events import Trained


class Ready:
    """In the place of a worker process: an update of the model's size, different for every device and round."""

    def __init__(self, name: str) -> None:
        self._seed = int.from_bytes(name.encode()[-6:], "little")

    loaded = True

    async def open(self) -> JobOpened:
        return JobOpened(samples=10)

    async def load(self, failed: Callable[[str], None]) -> JobOpened:
        return await self.open()

    async def ask(self, request: Request, dropped: Callable[[], None] = lambda: None) -> Answer:
        assert isinstance(request, CarryOut)
        return await asyncio.to_thread(self._train, request)

    async def close(self, why: str = "") -> None:
        pass

    def _train(self, asked: CarryOut) -> CarriedOut:
        effect, seed = asked.effect, self._seed + asked.earlier
        assert isinstance(effect, Train)
        down = read_model(asked.reads[effect.model])
        delta = np.full(down.vector.size, seed % 1000 * 1e-6, np.float32)
        delta[: min(8, delta.size)] = np.random.default_rng(seed).random(min(8, delta.size))
        write(asked.writes[effect.update], Update({"delta": delta}, {"delta": 10.0}, down.counters))
        return CarriedOut((effect.update,), trained=Trained(effect.task, effect.update, 10, 1.0))


class LightJobs(JobManager):
    """Jobs of a device without a worker process."""

    def worker_client(
        self,
        announcement: Any,
        code: Path,
        client: str = "",
        frozen: str = "",
        views: Mapping[str, str] | None = None,
    ) -> Any:
        return Ready(client) if client else super().worker_client(announcement, code, client, frozen, views)


async def run_crowd(folder: Path, parent: ParentAddress, names: list[str]) -> None:
    """Light devices, all in this process."""
    jobs.JobManager = LightJobs  # type: ignore[misc]
    async with AsyncExitStack() as stack:
        ups = []
        for name in names:
            ups.append(await stack.enter_async_context(member(NodeFolder(folder / name), [parent])))
        waiting = [up for up in ups if up.node.uplink is not None and up.node.uplink.parent is None]
        while waiting:
            await asyncio.sleep(0.1)
            waiting = [up for up in waiting if up.node.uplink is not None and up.node.uplink.parent is None]
        say(devices=len(ups), pid=os.getpid())
        await until_closed()

"""Many light devices in one process, see :mod:`benchmarks.network.processes`."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.network.lifetime import say, until_closed
from fogline.aggregation import Update
from fogline.network.node import process
from fogline.network.node.node import Node
from fogline.network.node.process import NodeFolder, member
from fogline.network.transport.messages import ParentAddress
from fogline.network.worker.files import read_model, write
from fogline.network.worker.requests import Answer, JobOpened, Request, Train, Trained


class Ready:
    """In the place of a worker process: an update of the model's size, different for every device and round."""

    def __init__(self, name: str) -> None:
        self._seed = int.from_bytes(name.encode()[-6:], "little")

    async def open(self) -> JobOpened:
        return JobOpened(samples=10)

    async def ask(self, request: Request) -> Answer:
        assert isinstance(request, Train)
        await asyncio.to_thread(self._train, request)
        return Trained(samples=10, loss=1.0, loss_rms=1.0)

    async def close(self) -> None:
        pass

    def _train(self, request: Train) -> None:
        down = read_model(request.model)
        delta = np.full(down.vector.size, (self._seed + request.attempt) % 1000 * 1e-6, np.float32)
        delta[: min(8, delta.size)] = np.random.default_rng(self._seed + request.attempt).random(min(8, delta.size))
        write(request.update, Update({"delta": delta}, {"delta": 10.0}, down.counters))


class LightNode(Node):
    """A device without a worker process."""

    def worker_client(self, announcement: Any, code: Path, client: str = "") -> Any:
        return Ready(self.name) if client else super().worker_client(announcement, code, client)


async def run_crowd(folder: Path, parent: ParentAddress, names: list[str]) -> None:
    """Light devices, all in this process."""
    process.Node = LightNode  # type: ignore[misc]
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

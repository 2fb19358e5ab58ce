"""Stages on real nodes: what is on the wire is what the virtual clock charges, and rubbish is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from fogline.jobs import Job
from fogline.jobs.files.reading import parse_job
from fogline.network.node.node import Node
from fogline.network.transport.messages import ParentAddress
from fogline.simulation.run import run
from tests.network.cluster import Cluster, cluster, job
from tests.network.small import noise

SIZE, CLIENTS, ROUNDS = 800_000, 2, 3
JOINING, BESIDE, FRAMED = 5_500, 1_100, 1.002
"""What crosses a link that no clock charges: bytes of a device that joins a job, and of each report beside its message;
and what lies around a message in TLS and HTTP/2, as a share of it. As docs/stages.md has them, a little more."""


def described(uplink: str) -> str:
    """A job with that code up."""
    cloud = f'uplink = ["{uplink}"]\ndownlink = ["int8"]'
    text = job(rounds=ROUNDS, fogs=0, clients=CLIENTS, cloud=cloud, task=f"size = {SIZE}")
    return text.replace("small:task", "small:noise")


def alone(text: str) -> Job:
    """It, to be simulated in this process."""
    return parse_job(text).model_copy(update={"engine": "loop", "processes": 0})


class Wire:
    """Counts the bytes of all connections through it."""

    def __init__(self) -> None:
        self.up = self.down = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def to(self, address: str) -> AsyncGenerator[str]:
        """The address of a way to that one."""
        host, _, port = address.rpartition(":")

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
            while data := await reader.read(1 << 16):
                self.up, self.down = self.up + up * len(data), self.down + (not up) * len(data)
                writer.write(data)
                await writer.drain()
            writer.close()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            onwards = await asyncio.open_connection(host, int(port))
            self._tasks.add(task)
            self._writers += [writer, onwards[1]]
            await asyncio.gather(
                pump(reader, onwards[1], True), pump(onwards[0], writer, False), return_exceptions=True
            )

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with server:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for writer in self._writers:
                writer.close()
            await asyncio.gather(*self._tasks)


def books_of(monkeypatch: pytest.MonkeyPatch, least: int) -> Counter[str]:
    """Bytes that all nodes enter in their books, ``up`` and ``down``, of what is larger: not the job's code."""
    books = Counter[str]()

    def carried(self: Node, down: int, up: int) -> None:
        books.update(down=down * (down > least), up=up * (up > least))

    monkeypatch.setattr(Node, "carried", carried)
    return books


async def measured(made: Cluster, wire: Wire, text: str) -> np.ndarray:
    """A job over devices that connect through a wire; its model."""
    async with wire.to(made.cloud.address) as address:
        for i in range(CLIENTS):
            await made.join(f"client-{i}", "device")
            await made.start(f"client-{i}", [ParentAddress("cloud", address)])
        record = await made.finish(await made.submit(text))
        assert (record.state, record.why) == ("finished", "")
        for i in range(CLIENTS):
            await made.stop(f"client-{i}")
    print(f"up {wire.up}, down {wire.down} bytes on the wire")
    return made.model(record).vector


@pytest.mark.parametrize(
    ("uplink", "bits", "least"),
    [
        ("int8", 8.0, 1.0),
        ("eden", 4.0, 1.0),
        ("top_k(share=0.2)", 7.14, 0.9),  # The network finds something to compress.
        ("stc(share=0.2)", 0.94, 1.0),
    ],
)
def test_clock_books_and_wire_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uplink: str, bits: float, least: float
) -> None:
    """To what is not charged, which does not grow with the message."""
    books, wire, text = books_of(monkeypatch, least=SIZE // 20), Wire(), described(uplink)

    async def work() -> np.ndarray:
        async with cluster(tmp_path, fogs=0, devices=0) as made:
            return await measured(made, wire, text)

    model, charged = asyncio.run(work()), CLIENTS * ROUNDS * SIZE * bits / 8
    simulated = run(alone(text), noise(CLIENTS, SIZE), progress=False)
    row = simulated.history[-1]
    assert np.array_equal(model, simulated.params.vector)
    assert books["up"] == row["up/cloud"]
    assert charged < row["up/cloud"] < 1.02 * charged  # With scales, or places.
    beside = CLIENTS * (JOINING + ROUNDS * BESIDE)
    assert least * row["up/cloud"] < wire.up < FRAMED * row["up/cloud"] + beside
    assert books["down"] == pytest.approx(row["down/cloud"], rel=0.001)  # Without receipts.
    assert row["down/cloud"] < wire.down < 1.01 * row["down/cloud"]


def test_over_a_fog_that_merges_the_sum_of_codes_is_as_long_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is added on real nodes as in the simulation, to the bit."""
    code = 'uplink = ["subspace(share=0.05)"]'
    text = job(rounds=ROUNDS, fogs=1, clients=CLIENTS, cloud=code, fog=code, task=f"size = {SIZE}")
    text = text.replace("small:task", "small:noise")
    books = books_of(monkeypatch, least=SIZE // 40)

    async def work() -> np.ndarray:
        async with cluster(tmp_path, fogs=1, devices=CLIENTS) as made:
            return made.model(await made.finish(await made.submit(text))).vector

    model = asyncio.run(work())
    simulated = run(alone(text), noise(CLIENTS, SIZE), progress=False)
    row, numbers = simulated.history[-1], 0.05 * SIZE * 4 * ROUNDS
    assert np.array_equal(model, simulated.params.vector)
    assert numbers < row["up/cloud"] < 1.01 * numbers
    assert CLIENTS * numbers < row["up/fog"] < 1.01 * CLIENTS * numbers
    assert books["up"] == pytest.approx(row["up/cloud"] + row["up/fog"], rel=0.01)

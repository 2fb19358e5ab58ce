"""A cloud, fogs and devices in one process, over real sockets and mutual TLS, with real worker processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fogline.governance.signatures.signing import SigningKey
from fogline.jobs.files.reading import parse_job
from fogline.monitoring.result import Result
from fogline.network.cloud.client import Client, bundle_of, connect
from fogline.network.cloud.cloud import CloudUp, cloud, create
from fogline.network.cloud.records import LogLine, Record
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.process import Listening, NodeFolder, RunningNode, member
from fogline.network.transport.messages import ParentAddress
from fogline.params import Params, load
from fogline.simulation.run import run
from tests.network.small import task
from tests.patience import PATIENCE

T = TypeVar("T")
HERE = Path(__file__).parent
LOCAL = Listening("127.0.0.1:0", "127.0.0.1:0")
NEVER = "at_least = 2"
"""No model is right more often than always, so none becomes a version: making one takes longer than its job."""
JOB = """
name = "toy"
task = "small:task"
rounds = {rounds}
{more}
[local]
learning_rate = 0.1
batch_size = 5
[task_parameters]
clients = {clients}
{task}
[publish]
{publish}
[tree.cloud]
{cloud}
"""
FOGS = """
[tree.fog]
count = {fogs}
{fog}
"""


def job(
    rounds: int = 3,
    fogs: int = 2,
    clients: int = 4,
    cloud: str = "",
    fog: str = "",
    more: str = "",
    task: str = "",
    publish: str = NEVER,
) -> str:
    """A job's text; without fogs devices hang below the cloud."""
    text = JOB.format(rounds=rounds, clients=clients, cloud=cloud, more=more, task=task, publish=publish)
    return text + (FOGS.format(fogs=fogs, fog=fog) if fogs else "")


async def submit(
    client: Client, folder: Path, text: str, planned: bool = True, wait: float = PATIENCE, **more: Any
) -> Record:
    """Put a job into a cloud's queue, signed by its first developer."""
    key = SigningKey.load(folder / "cloud" / "operator" / "developer.key")
    bundle = bundle_of(text, HERE, [HERE / "small.py"], key)
    return await client.submit(text, bundle, planned=planned, wait=wait, **more)


@dataclass
class Cluster:
    """Everything that runs, by name."""

    folder: Path
    cloud: CloudUp
    client: Client
    stack: AsyncExitStack
    members: dict[str, RunningNode] = field(default_factory=dict)
    stacks: dict[str, AsyncExitStack] = field(default_factory=dict)

    @property
    def parent_address(self) -> ParentAddress:
        return ParentAddress("cloud", self.cloud.address)

    async def join(self, name: str, role: str, door: ParentAddress | None = None) -> NodeFolder:
        """A new member's folder, with the certificate and a policy."""
        place = NodeFolder(self.folder / name)
        token = await self.client.token(NewToken(role))
        await join(door or ParentAddress("cloud", self.cloud.enrolment), token, name, role, place.identity)
        place.policy.write_bytes((self.folder / "cloud" / "policy.toml").read_bytes())
        return place

    async def start(
        self, name: str, parent_addresses: list[ParentAddress], listening: Listening | None = None
    ) -> RunningNode:
        """Start a member whose folder is there."""
        stack = AsyncExitStack()
        up = await stack.enter_async_context(member(NodeFolder(self.folder / name), parent_addresses, listening))
        self.members[name], self.stacks[name] = up, stack
        return up

    async def stop(self, name: str) -> None:
        """A clean end."""
        del self.members[name]
        await self.stacks.pop(name).aclose()

    async def submit(self, text: str, planned: bool = True, wait: float = PATIENCE, **more: Any) -> Record:
        return await submit(self.client, self.folder, text, planned, wait, **more)

    async def finish(self, record: Record, seconds: float = PATIENCE) -> Record:
        """Wait for the end of a job."""
        async with asyncio.timeout(seconds):
            async for line in self.client.watch(record.job):
                if os.environ.get("SHOW"):
                    print(line)
        (after,) = await self.client.jobs(record.job)
        return after

    async def until(self, record: Record, what: str) -> LogLine:
        """Wait for a line of a job's log."""
        async with asyncio.timeout(PATIENCE):
            async for line in self.client.watch(record.job):
                if line.what == what:
                    return line
        raise AssertionError(f"{record.job} ended without '{what}'")

    def said(self, record: Record) -> list[tuple[str, str, str]]:
        """A job's log: what, about whom, why."""
        assert self.cloud.scheduler is not None
        return [
            (line.what, line.child or line.node, line.why)
            for _, line in self.cloud.scheduler.job_store.lines(record.job)
        ]

    def model(self, record: Record) -> Params:
        """A job's result."""
        return load(self.folder / "cloud" / "runs" / record.job / "model.safetensors")


@asynccontextmanager
async def cluster(
    folder: Path,
    fogs: int = 2,
    devices: int = 4,
    parallel: int = 4,
    place: NodeFolder | None = None,
    days: float = 30.0,
) -> AsyncGenerator[Cluster]:
    """A tree as a simulation with such a job has it; without fogs, a star.

    ``place``: of the cloud, where that is not its folder; ``days``: life of the members' certificates.
    """
    create(folder / "cloud")
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(cloud(place or NodeFolder(folder / "cloud"), LOCAL, parallel, days))
        client = await stack.enter_async_context(
            connect(folder / "cloud" / "operator" / "identity", "cloud", up.address)
        )
        made = Cluster(folder, up, client, stack)
        stack.push_async_callback(_stop_all, made)
        parent_addresses = [made.parent_address]
        if fogs:
            names = ["fog"] if fogs == 1 else [f"fog-{i}" for i in range(fogs)]
            for name in names:
                await made.join(name, "fog")
                await made.start(name, [made.parent_address], LOCAL)
            parent_addresses = [ParentAddress(name, made.members[name].address) for name in names]
        for i in range(devices):
            await made.join(f"client-{i}", "device")
            await made.start(f"client-{i}", [parent_addresses[i % len(parent_addresses)]])
        yield made


@contextmanager
def within(runner: asyncio.Runner, started: AbstractAsyncContextManager[T]) -> Generator[T]:
    """A cluster, or a fleet, that runs in an event loop for several tests."""
    made = runner.run(_entered(started))
    try:
        yield made
    finally:
        runner.run(_left(started))


async def _entered(started: AbstractAsyncContextManager[T]) -> T:
    return await started.__aenter__()


async def _left(started: AbstractAsyncContextManager[object]) -> None:
    await started.__aexit__(None, None, None)


async def _stop_all(made: Cluster) -> None:
    for name in list(reversed(made.members)):
        await made.stop(name)


def simulated(text: str) -> Result:
    """What a simulation of the job on the reference engine gives."""
    described = parse_job(text)
    parameters = dict(described.task_parameters)
    return run(described.model_copy(update={"engine": "loop", "processes": 0}), task(**parameters), progress=False)

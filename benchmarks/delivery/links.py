"""Bytes that releases take on real links: mutual TLS, gRPC and signed metadata included, counted by proxies in between.

A cloud, a fog and devices run in one process over loopback sockets, each with its own records, files, updater and
installer processes. Devices have a stand-in for the server that answers predictions: it loads nothing, so that 20 fit
on a small machine. Whatever a rollout says on a link counts: files, signed metadata, outcomes and acknowledgements.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import console
from benchmarks.delivery.codecs import FULL, KeepingTask, trained
from fogline.codecs.deltas import CODECS
from fogline.governance.identity.checked import credentials
from fogline.governance.policy.terms import Channel
from fogline.governance.subject import Role
from fogline.inference.card import Lineage, PersonalOrigin, read_card
from fogline.jobs import Job
from fogline.jobs.job import Publish
from fogline.lab.proxy.proxy import FaultProxy
from fogline.network.cloud.cloud import CloudUp, cloud, create
from fogline.network.cloud.release_source import ReleaseSource
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.node import Node
from fogline.network.node.process import Listening, NodeFolder, member
from fogline.network.node.services.releases import ReleaseService
from fogline.network.transport.messages import ParentAddress
from fogline.network.worker.packing import pack
from fogline.network.worker.requests import Base, PackageModel
from fogline.params import Params, save
from fogline.processes.tasks import Tasks
from fogline.registry.publisher import Publisher
from fogline.serving.on_node import UpstreamAdapter
from fogline.serving.slots import VersionSlot
from fogline.serving.update.installing.installer import ProcessInstaller
from fogline.serving.update.updater import Updater
from fogline.storage import Database

LOCAL = Listening("127.0.0.1:0", "127.0.0.1:0")
MANY = 20
QUIET, ALIVE = 4.0, 200
"""A rollout is over after so many seconds with fewer bytes a device on the links: signs of life, and nothing else."""
PATIENCE = 600.0
QUICK = {"seconds": 0.5, "requests": 1.0, "longest": 0.5}


class NoServer:
    """Takes every version and answers nothing."""

    def expect(self, model: str, coming: bool) -> None: ...

    async def load(
        self, card: bytes, paths: Mapping[str, Path], slot: VersionSlot, personal: PersonalOrigin | None = None
    ) -> None: ...

    async def swap(self, model: str, version: int) -> None: ...

    async def drop(self, model: str, version: int) -> None: ...


class Device:
    """The part of a device that keeps models: all of it but the server."""

    def __init__(self, node: Node, database: Database, place: NodeFolder) -> None:
        assert node.releases is not None
        self.channel: Channel = "rounds"
        folder = place.folder / "serving"
        self.updater = Updater(
            node.name, "device", self.channel, database, folder, node.releases.store,
            node.personal, UpstreamAdapter(node.releases, node.releases.take_outcome), NoServer(),
            ProcessInstaller(folder, credentials(place.identity).root),
        )  # fmt: skip

    def fresh(self, timestamp: bytes) -> None:
        self.updater.fresh(timestamp)

    def personal(self, model: str) -> None: ...

    async def infer(self, ask: bytes, seconds: float) -> bytes:
        raise LookupError("it answers no predictions")

    def has(self, model: str, version: int) -> bool:
        """Whether it would answer with that version."""
        state = self.updater.states().get(model)
        return state is not None and state.current is not None and state.current.version == version


class Bytes(NamedTuple):
    """On the link from the cloud to the fog, and on those from the fog to all devices; both ways."""

    cloud_fog: int
    fog_devices: int

    def since(self, before: Bytes) -> Bytes:
        return Bytes(self.cloud_fog - before.cloud_fog, self.fog_devices - before.fog_devices)


class Tree:
    """What runs."""

    def __init__(self, up: CloudUp, upper: FaultProxy, lower: FaultProxy, devices: Sequence[Device]) -> None:
        assert isinstance(up.node.releases, ReleaseSource)
        self.node, self.source, self.devices = up.node, up.node.releases, devices
        self.publisher: Publisher = up.node.releases.publisher
        self._proxies = (upper, lower)

    def bytes(self) -> Bytes:
        """So far."""
        return Bytes(*(proxy.bytes_up + proxy.bytes_down for proxy in self._proxies))

    async def quiet(self) -> None:
        """Wait until nothing more is said."""
        before, now = -math.inf, sum(self.bytes())
        while now - before > ALIVE * len(self.devices):
            await asyncio.sleep(QUIET)
            before, now = now, sum(self.bytes())

    async def spent(self, model: str, version: int, begin: Callable[[], object]) -> tuple[Bytes, float]:
        """Bytes of a rollout, and seconds until all devices have the version."""
        await self.quiet()
        before, began = self.bytes(), time.perf_counter()
        await asyncio.to_thread(begin)
        async with asyncio.timeout(PATIENCE):
            while not all(device.has(model, version) for device in self.devices):
                await asyncio.sleep(0.02)
        seconds = time.perf_counter() - began
        await self.quiet()
        return self.bytes().since(before), seconds


@asynccontextmanager
async def tree(folder: Path, count: int) -> AsyncGenerator[Tree]:
    """A cloud, a fog, and so many devices below it."""
    create(folder / "cloud")
    devices: list[Device] = []

    def attaching(place: NodeFolder) -> Any:
        async def attach(node: Node, database: Database, stack: AsyncExitStack) -> None:
            device = Device(node, database, place)
            node.serving = device
            tasks = Tasks(node.name)
            tasks.spawn(device.updater.run())
            stack.callback(tasks.cancel)
            stack.push_async_callback(device.updater.close)
            devices.append(device)

        return attach

    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(cloud(NodeFolder(folder / "cloud"), LOCAL))

        async def joined(name: str, role: Role) -> NodeFolder:
            assert up.registrar is not None
            place = NodeFolder(folder / name)
            token = up.registrar.token(NewToken(role), by="benchmark")
            await join(ParentAddress("cloud", up.enrolment), token, name, role, place.identity)
            return place

        upper = await stack.enter_async_context(FaultProxy("127.0.0.1", _port(up.address)))
        above = [ParentAddress("cloud", f"127.0.0.1:{upper.port}")]
        fog = await stack.enter_async_context(member(await joined("fog", "fog"), above, LOCAL))
        lower = await stack.enter_async_context(FaultProxy("127.0.0.1", _port(fog.address)))
        for i in range(count):
            place = await joined(f"device-{i}", "device")
            homes = [ParentAddress("fog", f"127.0.0.1:{lower.port}")]
            await stack.enter_async_context(member(place, homes, attach=attaching(place)))
        yield Tree(up, upper, lower, devices)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


class Releasing:
    """Makes versions of a round's model and publishes them.

    Args:
        made: where to.
        task: of the models.
        folder: for their files.
    """

    def __init__(self, made: Tree, task: KeepingTask, folder: Path) -> None:
        self._publisher, self._task, self._folder = made.publisher, task, folder

    def version(self, codec: str, params: Params, number: int) -> Callable[[], object]:
        """Publishes it under the codec's name; ``full``: without differences."""
        folder = self._folder / f"{codec}-{number}"
        folder.mkdir(parents=True)
        save(folder / "group.safetensors", params)
        before = () if codec == FULL else self._publisher.recent(codec, 1)
        bases = tuple(
            Base(card.weights.digest, str(self._publisher.blobs.path(card.weights.digest)))
            for card in before
            if card.weights is not None
        )
        wanted = "lossless" if codec == FULL else codec
        origin = Lineage(job=f"{codec}-{number}", task="mlp", algorithm="fedavg", rounds=number)
        asked = PackageModel("", str(folder), codec, wanted, (), origin, bases)
        packaged = pack(Job(name=codec, task="mlp:task"), self._task, params, asked)
        files = {digest: Path(path) for digest, path in packaged.files.items()}
        settings = Publish(rings=(1.0,), ring_time=0.2, probation=QUICK)
        return lambda: self._publisher.publish(read_card(packaged.card), files, settings)


def measure() -> dict[str, Any]:
    """All figures of the links."""
    task, kept = trained(3)
    models = list(kept)  # Packaging judges models, and the task keeps what it judges.
    found: dict[str, Any] = {"devices": MANY, "server": "a stand-in; everything else is real, in one process"}
    # Each in a tree of its own: files that two models have in common would cross the links only once.
    for count, codec in itertools.product((1, MANY), (FULL, *CODECS)):
        with tempfile.TemporaryDirectory() as folder:
            found |= asyncio.run(_measured(Path(folder), count, codec, task, models))
    for codec in (FULL, *CODECS):
        many, one = (found[f"cloud_fog_bytes_{codec}_{devices}"] for devices in (f"{MANY}_devices", "1_device"))
        found[f"cloud_fog_bytes_{codec}_{MANY}_over_1"] = round(many / one, 3)
    console.print(found)
    return found


async def _measured(
    folder: Path, count: int, codec: str, task: KeepingTask, models: Sequence[Params]
) -> dict[str, Any]:
    many = f"{count}_device{'s' if count > 1 else ''}"
    async with tree(folder, count) as made:
        releasing = Releasing(made, task, folder / "versions")

        async def spent_on(number: int, model: Params) -> tuple[Bytes, float]:
            # In a thread: nodes that hear nothing for long take each other for lost.
            begin = await asyncio.to_thread(releasing.version, codec, model, number)
            return await made.spent(codec, number, begin)

        await spent_on(1, models[-2])
        spent, seconds = await spent_on(2, models[-1])
        console.print(f"{count} devices, {codec}: {spent}, {seconds:.1f} s")
        found: dict[str, Any] = {
            f"node_bytes_{codec}_{many}": round(spent.fog_devices / count),
            f"cloud_fog_bytes_{codec}_{many}": spent.cloud_fog,
            f"release_seconds_{codec}_{many}": round(seconds, 2),
        }
        if codec == "lossless":
            refreshed = await _refreshed(made)
            found[f"refresh_bytes_per_node_{many}"] = round(refreshed.fog_devices / count)
            found[f"refresh_bytes_cloud_fog_{many}"] = refreshed.cloud_fog
    return found


async def _refreshed(made: Tree) -> Bytes:
    """What crosses the links when nothing but the timestamp is signed anew."""
    await made.quiet()
    signed = made.publisher.signed
    due = await asyncio.to_thread(signed.renew)
    before = made.bytes()
    await asyncio.to_thread(signed.renew, due + 1)
    made.node.service(ReleaseService).fresh(made.source.changed())
    await made.quiet()
    return made.bytes().since(before)

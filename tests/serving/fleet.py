"""A cloud, fogs and devices in one process that train and serve: real sockets, real servers and installers."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from fogline.governance.signatures.signing import SigningKey
from fogline.jobs.job import Publish
from fogline.network.cloud.client import Client, bundle_of, connect
from fogline.network.cloud.cloud import CloudUp, cloud, create
from fogline.network.cloud.records import Record
from fogline.network.cloud.release_source import ReleaseSource
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.process import Listening, NodeFolder, RunningNode, member
from fogline.network.node.status import StatusChange
from fogline.network.transport.messages import ParentAddress
from fogline.registry.model_report import ModelReport
from fogline.registry.publisher import Publisher
from fogline.registry.release import NodeKind, Outcome
from fogline.serving.on_node import NodeServing, attaching
from fogline.serving.settings import Settings
from tests.patience import PATIENCE
from tests.serving.crafted import Crafted

HERE = Path(__file__).parent
LOCAL = Listening("127.0.0.1:0", "127.0.0.1:0")
JOB = """
name = "{name}"
task = "{task}:task"
rounds = {rounds}
start = "{start}"
[task_parameters]
clients = 2
[tree.cloud]
{tree}
{more}
[publish]
model = "{model}"
rings = {rings}
ring_time = 0.2
{publish}
[publish.probation]
{probation}
[publish.thresholds]
{thresholds}
"""
QUICK = "seconds = 0.3\nrequests = 5\nlongest = 0.6"


@dataclass
class Fleet:
    """Everything that runs, by name."""

    folder: Path
    cloud: CloudUp
    client: Client
    stack: AsyncExitStack
    ups: dict[str, RunningNode] = field(default_factory=dict)
    stacks: dict[str, AsyncExitStack] = field(default_factory=dict)
    http: dict[str, str] = field(default_factory=dict)
    """Where nodes answer predictions."""
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def home(self) -> ParentAddress:
        return ParentAddress("cloud", self.cloud.address)

    def home_of(self, name: str) -> ParentAddress:
        return ParentAddress(name, self.ups[name].address)

    def serving_of(self, name: str) -> NodeServing:
        node = self.cloud.node if name == "cloud" else self.ups[name].node
        return cast("NodeServing", node.serving)

    async def join(self, name: str, role: Any, policy: str = "") -> NodeFolder:
        """A new member's folder, with the certificate and a policy (of the cloud's signers, and more)."""
        place = NodeFolder(self.folder / name)
        token = await self.client.token(NewToken(role))
        await join(ParentAddress("cloud", self.cloud.enrolment), token, name, role, place.identity)
        place.policy.write_text((self.folder / "cloud" / "policy.toml").read_text() + policy)
        return place

    async def start(
        self,
        name: str,
        homes: list[ParentAddress],
        listening: Listening | None = None,
        settings: Settings | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> RunningNode:
        """Start a member whose folder is there; with ``settings`` it serves. ``parameters``: of tasks, as they hold
        there."""
        stack, place = AsyncExitStack(), NodeFolder(self.folder / name)
        attach = None if settings is None else attaching(place, settings)
        up = await stack.enter_async_context(
            member(place, homes, listening, name, parameters, on_change=self.teller(name), attach=attach)
        )
        self.ups[name], self.stacks[name] = up, stack
        return up

    async def stop(self, name: str) -> None:
        """A clean end."""
        del self.ups[name]
        self.http.pop(name, None)
        await self.stacks.pop(name).aclose()

    def teller(self, name: str) -> Callable[[StatusChange], None]:
        def tell(change: StatusChange) -> None:
            if change.what == "listens":
                self.http[name] = change.who

        return tell

    async def train(self, rounds: int = 1, start: str = "", task: Path = HERE / "digits.py", **more: Any) -> Record:
        """Run a job to its end."""
        given = {"rings": "[1.0]", "publish": "", "probation": QUICK, "thresholds": "", "name": "digits", "more": ""}
        given |= more
        given.setdefault("model", given["name"])
        fogs = sum(up.identity.subject.role == "fog" for up in self.ups.values())
        tree = f"[tree.fog]\ncount = {fogs}" if fogs else ""
        text = JOB.format(rounds=rounds, start=start, tree=tree, task=task.stem, **given)
        key = SigningKey.load(self.folder / "cloud" / "operator" / "developer.key")
        record = await self.client.submit(text, bundle_of(text, task.parent, [task], key), wait=0.5)
        async with asyncio.timeout(PATIENCE):
            async for _ in self.client.watch(record.job):
                pass
        (after,) = await self.client.jobs(record.job)
        return after

    @property
    def publisher(self) -> Publisher:
        """The cloud's registry."""
        return cast("ReleaseSource", self.cloud.node.releases).publisher

    async def publish(self, made: Crafted, **settings: Any) -> int:
        """Release a version that was made by hand; its number."""
        probation = {"seconds": 0.3, "requests": 5, "longest": 0.6} | settings.pop("probation", {})
        asked = Publish(rings=settings.pop("rings", (1.0,)), ring_time=0.2, probation=probation, **settings)
        card = await asyncio.to_thread(self.publisher.publish, made.card, made.files, asked)
        return card.version

    def records(self, name: str) -> list[Outcome]:
        """What a node wrote down about its models."""
        notes = self.ups[name].node.database.notes("serving")
        return [msgspec.json.decode(body, type=Outcome) for _, body in notes]

    def told(self, what: str) -> bool:
        """Whether the cloud has heard of something, in words."""
        return any(what in note.text for note in self.publisher.model_reports("digits")[0].notes)

    async def standing(self, model: str = "digits") -> ModelReport:
        (found,) = await self.client.models(model)
        return found

    async def until(self, there: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait for something that only other tasks and processes bring about."""
        try:
            async with asyncio.timeout(seconds):
                while not there():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what} did not come about within {seconds:g} s") from None

    def serves(self, name: str, version: int, model: str = "digits") -> bool:
        """Whether a node has committed to a version."""
        state = self.serving_of(name).updater.states().get(model)
        return state is not None and state.good is not None and state.good.version == version

    def answers(self, name: str, version: int, model: str = "digits") -> bool:
        """Whether a node answers with a version, on probation or not."""
        state = self.serving_of(name).updater.states().get(model)
        return state is not None and state.current is not None and state.current.version == version

    async def ask(self, name: str, x: np.ndarray, model: str = "digits") -> tuple[int, Any]:
        """A prediction by HTTP: the status and the body."""
        return await asyncio.to_thread(ask, self.http[name], model, x)


def ask(address: str, model: str, x: np.ndarray) -> tuple[int, Any]:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        meta = json.loads(_get(connection, f"/v2/models/{model}"))
        tensor |= {"name": meta["inputs"][0]["name"], "datatype": meta["inputs"][0]["datatype"]}
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


@asynccontextmanager
async def fleet(
    folder: Path,
    fogs: tuple[str, ...] = ("fog",),
    devices: tuple[str, ...] = ("client-0", "client-1"),
    serving: tuple[str, ...] = ("client-0",),
    policy: str = "",
    settings: Settings | None = None,
    homes: dict[str, ParentAddress] | None = None,
) -> AsyncGenerator[Fleet]:
    """A tree; devices hang below the fogs in turn. ``homes``: other parents than these, by name."""
    create(folder / "cloud")
    base = settings or Settings(grpc="", pulse=0.1)

    def of(name: str, tier: NodeKind) -> Settings | None:
        return msgspec.structs.replace(base, tier=tier) if name in serving else None

    async with AsyncExitStack() as stack:
        place, top = NodeFolder(folder / "cloud"), of("cloud", "cloud")
        http: dict[str, str] = {}
        attach = None if top is None else attaching(place, top)
        up = await stack.enter_async_context(
            cloud(
                place,
                LOCAL,
                on_change=lambda change: http.update(cloud=change.who) if change.what == "listens" else None,
                attach=attach,
            )
        )
        client = await stack.enter_async_context(
            connect(folder / "cloud" / "operator" / "identity", "cloud", up.address)
        )
        made = Fleet(folder, up, client, stack, http=http)
        stack.push_async_callback(_stop_all, made)
        for name in fogs:
            await made.join(name, "fog", policy)
            await made.start(name, [(homes or {}).get(name, made.home)], LOCAL, of(name, "fog"))
        for i, name in enumerate(devices):
            await made.join(name, "device", policy)
            parent = made.home_of(fogs[i % len(fogs)]) if fogs else made.home
            await made.start(name, [(homes or {}).get(name, parent)], None, of(name, "device"))
        yield made


async def _stop_all(made: Fleet) -> None:
    for name in list(reversed(made.ups)):
        await made.stop(name)

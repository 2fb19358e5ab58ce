"""A cloud, fogs and devices as real processes, which can be killed at chosen points and started again.

Run as a program it is one node: ``python -m tests.network.processes SPEC.json``. What kills it, or sets its clock, is
wrapped around the product here and is no part of it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fogline
from fogline.network.cloud.client import Client, connect
from fogline.network.cloud.cloud import create
from fogline.network.cloud.records import LogLine, Record
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.process import NodeFolder
from fogline.network.transport.messages import ParentAddress
from fogline.params import Params, load
from fogline.retries import Backoff
from fogline.storage import BlobRef
from tests import warm
from tests.network.cluster import submit
from tests.patience import PATIENCE
from tests.warm import Warm

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Fleet:
    """Processes by name, and how each is started."""

    folder: Path
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: dict[str, Warm] = field(default_factory=dict)
    client: Client | None = None
    hurry: bool = True
    """Whether nodes look for a lost parent again and again without ever waiting long."""

    # Nodes.

    def start(self, name: str, **trouble: Any) -> None:
        """Start a node, with a trouble that :func:`trouble` knows."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(self.specs[name] | {"trouble": trouble, "hurry": self.hurry}))
        paths = os.pathsep.join([str(Path(fogline.__file__).parent.parent), str(ROOT)])
        environment = {**os.environ, "GRPC_VERBOSITY": "NONE", "PYTHONPATH": paths}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = warm.start("tests.network.processes:main", [str(path)], environment, log, log)

    def stop(self, name: str) -> None:
        """Have it end in good order."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0

    def kill(self, name: str) -> None:
        """``kill -9``."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    async def died(self, name: str) -> int:
        """Wait until a node has ended by itself."""
        await wait_for(lambda: self.running[name].poll() is not None)
        return self.running.pop(name).wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    async def logged(self, name: str, what: str) -> None:
        """Wait for words in a node's log."""
        await wait_for(lambda: what in self.log(name))

    def parent_address(self, name: str) -> ParentAddress:
        return ParentAddress(name, self.specs[name]["listen"])

    async def add(self, name: str, role: str, parent_addresses: list[ParentAddress], **more: Any) -> None:
        """A new member: its folder, certificate, policy and addresses."""
        assert self.client is not None
        place = NodeFolder(self.folder / name)
        token = await self.client.token(NewToken(role))  # type: ignore[arg-type]
        await join(ParentAddress("cloud", self.specs["cloud"]["door"]), token, name, role, place.identity)  # type: ignore[arg-type]
        place.policy.write_bytes((self.folder / "cloud" / "policy.toml").read_bytes())
        ports = {"listen": f"127.0.0.1:{free_port()}", "door": f"127.0.0.1:{free_port()}"} if role == "fog" else {}
        self.specs[name] = {
            "folder": str(place.folder),
            "parent_addresses": [(parent_address.name, parent_address.address) for parent_address in parent_addresses],
            **ports,
            **more,
        }

    # Jobs. The cloud may be down meanwhile.

    async def submit(self, text: str, **more: Any) -> Record:
        assert self.client is not None
        await wait_for(lambda: self._answers("cloud"))
        return await submit(self.client, self.folder, text, **more)

    def _answers(self, name: str) -> bool:
        host, _, port = self.specs[name]["listen"].rpartition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    async def record(self, job: str) -> Record | None:
        """A job as the cloud knows it; None while it does not answer."""
        assert self.client is not None
        with suppress(RuntimeError):
            return (await self.client.jobs(job))[0]
        return None

    async def finish(self, record: Record, seconds: float = PATIENCE) -> Record:
        async with asyncio.timeout(seconds):
            while True:
                now = await self.record(record.job)
                if now is not None and now.state not in ("queued", "running"):
                    return now
                await asyncio.sleep(0.1)

    async def rounds(self, record: Record, count: int) -> None:
        """Wait until a job has made so many rounds."""
        async with asyncio.timeout(PATIENCE):
            while (now := await self.record(record.job)) is None or now.done < count:
                assert now is None or now.state in ("queued", "running"), now
                await asyncio.sleep(0.05)

    async def lines(self, record: Record) -> list[LogLine]:
        """A job's log; it is over."""
        assert self.client is not None
        return [line async for line in self.client.watch(record.job)]

    def model(self, record: Record) -> Params:
        return load(self.folder / "cloud" / "runs" / record.job / "model.safetensors")


async def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def fleet(folder: Path, fogs: int = 1, devices: int = 2, hurry: bool = True) -> AsyncGenerator[Fleet]:
    """A tree of processes, all connected; without fogs, a star."""
    create(folder / "cloud")
    made = Fleet(folder, hurry=hurry)
    listen, door = (f"127.0.0.1:{free_port()}" for _ in range(2))
    made.specs["cloud"] = {"folder": str(folder / "cloud"), "listen": listen, "door": door, "cloud": True}
    try:
        made.start("cloud")
        await made.logged("cloud", "up")
        async with connect(folder / "cloud" / "operator" / "identity", "cloud", listen) as made.client:
            names = ["fog"] if fogs == 1 else [f"fog-{i}" for i in range(fogs)]
            for name in names:
                await made.add(name, "fog", [made.parent_address("cloud")])
            parent_addresses = [made.parent_address(name) for name in names or ["cloud"]]
            for i in range(devices):
                await made.add(f"client-{i}", "device", [parent_addresses[i % len(parent_addresses)]])
            for name in made.specs.keys() - {"cloud"}:
                made.start(name)
            yield made
    finally:
        for name in list(made.running):
            made.kill(name)


# One node.


def trouble(kind: str, value: Any) -> None:
    """Wrap the product in what goes wrong."""
    if kind == "commit":
        _kill_at_commit(*value)
    elif kind == "call":
        _kill_at_call(*value)
    elif kind == "clock":
        _jump(float(value))
    elif kind == "full":
        _fill_disk(Path(value))
    elif kind == "tap":
        _tap(Path(value))
    elif kind == "protocol":
        _speak(int(value))
    elif kind == "blobs":
        import fogline.network.node.values

        fogline.network.node.values.SMALL = 0  # Every value goes beside the messages.
    else:
        raise ValueError(kind)


def _hurry() -> None:
    import fogline.network.transport.search as search
    import fogline.network.transport.uplink as uplink

    search.RECONNECT, uplink.FETCH_AGAIN = Backoff(0.2, 0.5, least=0.5), Backoff(0.2, 0.5)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at_commit(n: int, after: bool, kinds: list[str]) -> None:
    """Die at the n-th commit that writes records (of those kinds), before it, or when it is durable and nothing has
    been said yet."""
    from fogline.network.node.participation.driver import Driver

    commit, seen = Driver._commit, 0

    async def wrapped(self: Driver, entries: list[bytes]) -> None:
        nonlocal seen
        met = any(kind.encode() in entry for entry in entries for kind in kinds)
        seen += met
        if met and seen == n and not after:
            die()
        await commit(self, entries)
        if met and seen == n and after:
            die()

    Driver._commit = wrapped  # type: ignore[method-assign]


def _kill_at_call(where: str, n: int, after: bool) -> None:
    """Die at the n-th call of ``module:Class.method``, before it, or when it or a later one has come to its end: one
    that is given up on a busy machine has none."""
    import importlib

    module, _, rest = where.partition(":")
    owner_name, _, method = rest.partition(".")
    owner = getattr(importlib.import_module(module), owner_name)
    original, seen = getattr(owner, method), 0

    async def wrapped(*args: Any, **more: Any) -> Any:
        nonlocal seen
        seen += 1
        this = seen  # Others may be called before it returns.
        if this == n and not after:
            die()
        result = await original(*args, **more)
        if this >= n and after:
            die()
        return result

    setattr(owner, method, wrapped)


def _tap(folder: Path) -> None:
    """Write down all that the node says to its parent, and every state that its methods keep."""
    import fogline.network.transport.messages as messages
    from fogline.network.node.values import ValueStore
    from fogline.network.transport.uplink import Uplink
    from fogline.processes.messages import encode

    folder.mkdir(exist_ok=True)
    send, push, take = Uplink.send, Uplink.push, ValueStore._take

    def note(name: str, data: bytes) -> None:
        with (folder / name).open("ab") as file:
            file.write(data)

    def sent(self: Uplink, frame: messages.UpFrame) -> None:
        note("sent", encode(frame))
        send(self, frame)

    async def pushed(self: Uplink, blob: messages.Blob, job: str, task: int) -> None:
        note("sent", self._blobs.path(blob.digest).read_bytes())
        await push(self, blob, job, task)

    def taken(self: ValueStore, draft: Path, kind: str) -> BlobRef:
        if kind == "state":
            (folder / f"state-{time.time_ns()}").write_bytes(draft.read_bytes())
        return take(self, draft, kind)

    Uplink.send, Uplink.push, ValueStore._take = sent, pushed, taken  # type: ignore[method-assign]


def _speak(version: int) -> None:
    """Be of an older version, which knows no frame that came later."""
    import fogline.network.node.node as node
    from fogline.network.transport.messages import DownFrame, Moved
    from fogline.processes.messages import Decoder

    frames = [frame for service in node.SERVICES for frame in service.down if frame is not Moved]
    node.PROTOCOL = version
    node.Node.down_frames = Decoder[DownFrame](node.reduce(node.or_, frames))  # type: ignore[attr-defined]


def _jump(seconds: float) -> None:
    """The clock on the wall jumps by so much, two seconds after the start."""
    real, start = time.time, time.monotonic()
    time.time = lambda: real() + (seconds if time.monotonic() - start > 2 else 0.0)


def _fill_disk(mark: Path) -> None:
    """The disk is full for as long as a file is there."""
    from fogline.storage import Blobs, Database, StorageFullError

    for owner, method in ((Database, "append"), (Database, "put"), (Blobs, "put"), (Blobs, "adopt"), (Blobs, "writer")):
        original = getattr(owner, method)

        def wrapped(*args: Any, original: Any = original, **more: Any) -> Any:
            if mark.exists():
                raise StorageFullError("Cannot write: the disk is full; free some space and try again")
            return original(*args, **more)

        setattr(owner, method, wrapped)


async def _node(spec: dict[str, Any]) -> None:
    from fogline.network.node.process import Listening, member, until_told

    place = NodeFolder(Path(spec["folder"]))
    listening = Listening(spec["listen"], spec["door"]) if "listen" in spec else None
    if spec.get("cloud"):
        from fogline.network.cloud.cloud import cloud

        assert listening is not None
        async with cloud(place, listening) as up:
            print("up", flush=True)
            await until_told(up)
        return
    parent_addresses = [ParentAddress(*parent_address) for parent_address in spec["parent_addresses"]]
    async with member(place, parent_addresses, listening, client=spec.get("client", "")) as up:
        print("up", flush=True)
        await until_told(up)


def main() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    faulthandler.register(signal.SIGUSR1)
    spec = json.loads(Path(sys.argv[1]).read_text())
    if spec["hurry"]:
        _hurry()
    for kind, value in spec["trouble"].items():
        trouble(kind, value)
    asyncio.run(_node(spec))


if __name__ == "__main__":
    main()

"""A blob through Fogline and the same bytes through a plain TLS socket, from one process to another."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import ssl
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.network.lifetime import say, until_closed
from benchmarks.network.tree import Tree
from fogline.governance.identity.checked import credentials
from fogline.governance.identity.credentials import CertificateFacts
from fogline.governance.subject import Subject
from fogline.network.node.node import DOWN, UP
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.grpc import listen, server
from fogline.network.transport.messages import PROTOCOL, Blob, ParentAddress, Present, Push, UpFrame, Welcome
from fogline.network.transport.ports import Call
from fogline.network.transport.session import Session
from fogline.network.transport.uplink import Uplink
from fogline.storage import open_blobs


class OneBlob:
    """The part of a node that a server of one blob needs."""

    up_frames = UP

    def __init__(self, path: Path, size: int) -> None:
        self._place = path, size

    def calls(self) -> Mapping[str, Call]:
        return {}

    def refusal(self, subject: Subject, serial: str) -> str | None:
        return None

    def objection(self, facts: CertificateFacts, present: Present) -> str | None:
        return None

    def carried(self, down: int, up: int) -> None: ...

    def arrived(self, session: Session) -> Welcome:
        return Welcome("cloud")

    def departed(self, session: Session) -> None: ...

    def twins(self, name: str, here: str, there: str) -> None: ...

    def from_child(self, session: Session, frame: UpFrame) -> None: ...

    def wants(self, subject: Subject, push: Push) -> str | None:
        return None

    def withheld(self, subject: Subject, digest: str) -> str | None:
        return None

    async def obtain(self, digest: str, doubted: bool = False) -> tuple[Path, int]:
        return self._place


async def serve(folder: Path, size: int) -> None:
    """The server's process: the blob through Fogline, and as many bytes through a plain socket."""
    blobs = open_blobs(folder / "served", limit=1 << 40)
    source = folder / "source"
    with source.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    digest, _ = await asyncio.to_thread(blobs.adopt, source)
    downlink = Downlink(blobs, OneBlob(blobs.path(digest), size))
    made = server({"fogline.v1.Node": downlink.methods()})
    port = listen(made, lambda: credentials(folder / "identity"), "127.0.0.1:0")
    await made.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "identity" / "certificate.pem", folder / "identity" / "key.pem")
    plain = await asyncio.start_server(lambda _, writer: _send(writer, size), "127.0.0.1", 0, ssl=context)
    say(address=f"127.0.0.1:{port}", plain=plain.sockets[0].getsockname()[1], digest=digest)
    await until_closed()


async def _send(writer: asyncio.StreamWriter, size: int) -> None:
    chunk = os.urandom(1 << 20)
    for _ in range(size >> 20):
        writer.write(chunk)
        await writer.drain()
    writer.close()


class Quiet:
    """The part of a node that a client needs."""

    down_frames = DOWN

    def __init__(self) -> None:
        self.there = asyncio.Event()

    def present(self) -> Present:
        return Present(PROTOCOL)

    def connected(self, parent: str, welcome: Welcome) -> None:
        self.there.set()

    def disconnected(self, parent: str, why: str) -> None: ...

    async def rested(self) -> None: ...

    def from_parent(self, parent: str, frame: Any) -> None: ...


async def compare(made: Tree, size: int, turns: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds for the blob through Fogline, through a plain socket, and through one whose reader hashes and writes as
    Fogline does, in turns."""
    facts = made.start("blobs", "blobs", str(made.folder / "cloud"), str(size))
    member = made.member("reader", "device")
    blobs = open_blobs(member / "blobs", limit=1 << 40)
    above = Quiet()
    uplink = Uplink(lambda: credentials(member / "identity"), [ParentAddress("cloud", facts["address"])], blobs, above)
    running = asyncio.create_task(uplink.run())
    await asyncio.wait_for(above.there.wait(), 20)
    ours: list[float] = []
    plain: list[float] = []
    same: list[float] = []
    for _ in range(turns):
        start = time.perf_counter()
        await uplink.fetch(Blob(facts["digest"], size))
        ours.append(time.perf_counter() - start)
        blobs.delete(facts["digest"])
        plain.append(await _plain_seconds(facts["plain"], size))
        same.append(await _plain_seconds(facts["plain"], size, member / "plain"))
    running.cancel()
    shutil.rmtree(member / "blobs")
    return ours, plain, same


async def _plain_seconds(port: int, size: int, target: Path | None = None) -> float:
    """``target``: a file for the bytes, which are hashed too; None: they are not even looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # What is measured is the bytes; the handshake is not.
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=4 << 20)
    start, left, seen = time.perf_counter(), size, hashlib.sha256()
    with target.open("wb") if target is not None else nullcontext() as file:
        while left:
            data = await reader.read(1 << 20)
            left -= len(data)
            if file is not None:
                seen.update(data)
                file.write(data)
    seconds = time.perf_counter() - start
    writer.close()
    return seconds


async def plain_rate(made: Tree, size: int) -> float:
    """Bytes per second of the plain socket, now."""
    facts = made.start("blobs", "blobs", str(made.folder / "cloud"), str(size))
    return size / await _plain_seconds(facts["plain"], size)

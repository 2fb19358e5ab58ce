"""Who may not bring a file hears why, however much of it is on its way: gRPC loses the reason where a write fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from fogline.governance.subject import Role, Subject
from fogline.network.cloud.client import Client, OperatorApiError
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.messages import OPERATOR_SERVICE, PIECE, SERVICE, Push
from fogline.network.transport.permissions import permitted
from fogline.storage import BlobWriter, StorageFullError, open_blobs

BUNDLE = bytes(40 * PIECE)
TIMES = 20
"""Uploads: each could lose the reason."""


class Below:
    """What a node knows of who brings files."""

    refused: str | None = None

    def wants(self, _: Subject, __: Push) -> str | None:
        return self.refused

    def carried(self, down: int, up: int) -> None:
        """Nobody counts."""

    def calls(self) -> dict[str, Any]:
        return {}


@asynccontextmanager
async def uploading(folder: Path, role: Role = "operator", below: Below | None = None) -> AsyncGenerator[Client]:
    """A client of that role, of a server that takes files."""
    downlink = Downlink(open_blobs(folder), cast("Any", below or Below()))

    async def admit(_: Any) -> Any:
        return SimpleNamespace(subject=Subject("mia", role))

    downlink.admit = admit  # type: ignore[method-assign]
    server = grpc.aio.server()
    methods = permitted(SERVICE, {"Push": downlink.methods()["Push"]}, admit)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Client(channel)
    finally:
        await server.stop(0)


async def why(client: Client, file: Path) -> set[str]:
    """What is said of several uploads."""
    said: set[str] = set()
    file.write_bytes(BUNDLE)
    for _ in range(TIMES):
        with pytest.raises(OperatorApiError) as refused:
            await client.take_in(file)
        said.add(str(refused.value))
    return said


def test_a_role_that_may_not(tmp_path: Path) -> None:
    async def work() -> None:
        async with uploading(tmp_path / "blobs", "auditor") as client:
            (said,) = await why(client, tmp_path / "file")
        assert said.startswith("mia is an auditor; only ")

    asyncio.run(work())


def test_a_file_that_is_not_wanted(tmp_path: Path) -> None:
    async def work() -> None:
        below = Below()
        below.refused = "nobody waits for that"
        async with uploading(tmp_path / "blobs", below=below) as client:
            assert await why(client, tmp_path / "file") == {"nobody waits for that"}

    asyncio.run(work())


def test_a_disk_that_becomes_full_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = BlobWriter.write

    def full(self: BlobWriter, data: Any) -> None:
        if self.offset >= 3 * PIECE:
            raise StorageFullError("the disk is full")
        write(self, data)

    async def work() -> None:
        monkeypatch.setattr(BlobWriter, "write", full)
        async with uploading(tmp_path / "blobs") as client:
            assert await why(client, tmp_path / "file") == {"the disk is full"}

    asyncio.run(work())


def test_an_answer_that_nobody_understands_is_told_in_a_sentence() -> None:
    async def odd(_: bytes, __: Any) -> bytes:
        return b"\xc1"

    async def odd_stream(_: bytes, __: Any) -> AsyncIterator[bytes]:
        yield b"\xc1"

    async def work() -> None:
        server = grpc.aio.server()
        methods = {
            "Jobs": grpc.unary_unary_rpc_method_handler(odd),
            "Ledgers": grpc.unary_stream_rpc_method_handler(odd_stream),
            "Follow": grpc.unary_stream_rpc_method_handler(odd_stream),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(OPERATOR_SERVICE, methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            client = Client(channel)
            for question in (client.jobs, client.ledgers, lambda: anext(client.follow())):
                with pytest.raises(OperatorApiError, match=r"The cloud answers what is no answer .* another version"):
                    await question()
        await server.stop(0)

    asyncio.run(work())

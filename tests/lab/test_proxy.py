"""The proxy's faults, as the two ends of a connection see them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fogline.lab import FaultProxy, LabError
from tests.patience import PATIENCE

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def behind_proxy() -> AsyncGenerator[FaultProxy]:
    """A proxy before a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


def proxied(test: Callable[[FaultProxy], Awaitable[None]]) -> Callable[[], None]:
    async def run() -> None:
        async with behind_proxy() as proxy, asyncio.timeout(PATIENCE):
            await test(proxy)

    def named() -> None:
        asyncio.run(run())

    return named


async def dial(proxy: FaultProxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def exchange(streams: Streams, data: bytes) -> bytes:
    reader, writer = streams
    writer.write(data)
    return await reader.readexactly(len(data))


@proxied
async def test_bytes_pass_unchanged_and_are_counted(proxy: FaultProxy) -> None:
    data = bytes(range(256)) * 8000
    reader, writer = await dial(proxy)
    assert await exchange((reader, writer), data) == data
    writer.write_eof()
    assert await reader.read() == b""
    assert proxy.bytes_up == proxy.bytes_down == len(data)
    assert proxy.accepted == 1
    writer.close()


@proxied
async def test_delay_is_added_each_way_and_does_not_limit_the_rate(proxy: FaultProxy) -> None:
    proxy.set(delay="1s")
    streams = await dial(proxy)
    begin = time.monotonic()
    await exchange(streams, b"x")
    assert time.monotonic() - begin >= 2.0
    # One piece of 64 KiB after the other would take ten minutes, and this test's patience is shorter.
    await exchange(streams, bytes(40_000_000))
    streams[1].close()


@proxied
async def test_rate_holds_one_direction_back(proxy: FaultProxy) -> None:
    proxy.set(rate="800kbit", direction="up")
    streams = await dial(proxy)
    begin = time.monotonic()
    await exchange(streams, bytes(50_000))
    assert time.monotonic() - begin > 0.4
    streams[1].close()


@proxied
async def test_a_slow_link_holds_the_sender_back(proxy: FaultProxy) -> None:
    proxy.set(rate="8kbit")
    _, writer = await dial(proxy)
    writer.write(bytes(50_000_000))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(writer.drain(), 0.5)
    writer.transport.abort()


@proxied
async def test_a_partition_is_silent_and_heals(proxy: FaultProxy) -> None:
    reader, writer = await dial(proxy)
    await exchange((reader, writer), b"before")
    proxy.partition()
    writer.write(b"during")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    proxy.partition(False)
    assert await reader.readexactly(6) == b"during"
    writer.close()


@proxied
async def test_cut_resets_both_ends(proxy: FaultProxy) -> None:
    streams = [await dial(proxy) for _ in range(3)]
    for pair in streams:
        await exchange(pair, b"x")
    assert proxy.connections == 3
    proxy.partition()
    proxy.cut()
    for reader, writer in streams:
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
    proxy.partition(False)
    again = await dial(proxy)
    assert await exchange(again, b"again") == b"again"
    again[1].close()


@proxied
async def test_refusal_spares_open_connections(proxy: FaultProxy) -> None:
    streams = await dial(proxy)
    await exchange(streams, b"x")
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await dial(proxy)
    assert await exchange(streams, b"still") == b"still"
    port = proxy.port
    await proxy.refuse(False)
    assert proxy.port == port
    fresh = await dial(proxy)
    assert await exchange(fresh, b"new") == b"new"
    fresh[1].close()
    streams[1].close()


@proxied
async def test_bits_are_flipped_where_asked_and_once(proxy: FaultProxy) -> None:
    proxy.corrupt_after(100_000, flips=3)
    streams = await dial(proxy)
    data = bytes(200_000)
    got = await exchange(streams, data)
    assert [i for i, byte in enumerate(got) if byte] == [100_000, 100_001, 100_002]
    assert [byte.bit_count() for byte in got[100_000:100_003]] == [1, 1, 1]
    assert await exchange(streams, data) == data
    streams[1].close()


@proxied
async def test_a_stream_is_cut_short_in_order_and_once(proxy: FaultProxy) -> None:
    proxy.truncate_after(70_001, direction="down")
    reader, writer = await dial(proxy)
    writer.write(bytes(70_100))
    assert len(await reader.read(-1)) == 70_001
    writer.close()
    again = await dial(proxy)
    assert len(await exchange(again, bytes(70_100))) == 70_100
    again[1].close()


@proxied
async def test_wrong_values_are_said(proxy: FaultProxy) -> None:
    with pytest.raises(LabError, match="'5 moons' is no duration"):
        proxy.set(delay="5 moons")
    with pytest.raises(LabError, match="no number of at least 1"):
        proxy.set(rate=0)


async def _no_server() -> None:
    async with FaultProxy("127.0.0.1", 1) as proxy:
        reader, writer = await dial(proxy)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()


def test_without_a_server_the_client_is_reset() -> None:
    asyncio.run(_no_server())

"""Blobs on their way: pieces, compression, and one crossing of the uplink for all children."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.network.transport.chunks import PLAIN, ZSTD, ChunkError, pieces, receive, unpacked
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.messages import PIECE
from fogline.storage import open_blobs
from tests.network.cluster import cluster, job


def test_a_model_crosses_the_uplink_once_for_all_devices_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: Counter[tuple[str, str]] = Counter()
    fetch = Downlink.fetch

    async def counted(self: Downlink, request: bytes, context: object):  # type: ignore[no-untyped-def]
        facts = await self.admit(context)  # type: ignore[arg-type]
        fetched[facts.subject.role, str(request[-80:])] += 1
        async for piece in fetch(self, request, context):  # type: ignore[arg-type]
            yield piece

    monkeypatch.setattr(Downlink, "fetch", counted)

    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=4) as made:
            text = job(rounds=3, fogs=1, clients=4).replace("small:task", "small:numbers")
            assert (await made.finish(await made.submit(text))).state == "finished"

    asyncio.run(work())
    by_fog = sum(count for (role, _), count in fetched.items() if role == "fog")
    by_devices = sum(count for (role, _), count in fetched.items() if role == "device")
    assert by_fog == 1 + 3  # The bundle, and a model a round.
    assert by_devices == 4 * (1 + 3)


async def _carried(folder: Path, data: bytes, offset: int, zstd: bool) -> list[bytes]:
    source = folder / "source"
    source.write_bytes(data)
    return [piece async for piece in pieces(source, offset, zstd)]


@settings(max_examples=25, deadline=None)
@given(
    st.binary(max_size=3000),
    st.sampled_from([1, 700]),
    st.floats(0, 1),
    st.booleans(),
)
def test_what_arrives_is_what_was_sent(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, times: int, share: float, zstd: bool
) -> None:
    folder, data = tmp_path_factory.mktemp("pieces"), data * times
    offset = int(share * len(data))
    sent = asyncio.run(_carried(folder, data, offset, zstd))
    assert b"".join(bytes(unpacked(piece)) for piece in sent) == data[offset:]
    assert all(len(unpacked(piece)) <= PIECE for piece in sent)
    assert zstd or all(piece[:1] == PLAIN for piece in sent)


def test_what_shrinks_is_compressed_if_the_receiver_reads_it(tmp_path: Path) -> None:
    data = bytes(5 << 20)
    packed = asyncio.run(_carried(tmp_path, data, 0, zstd=True))
    assert all(piece[:1] == ZSTD for piece in packed)
    assert sum(map(len, packed)) < len(data) / 100
    assert sum(map(len, asyncio.run(_carried(tmp_path, data, 0, zstd=False)))) > len(data)


def test_a_sender_that_lies_about_the_size_is_refused(tmp_path: Path) -> None:
    blobs = open_blobs(tmp_path / "blobs", reserve=0)

    async def chunks(size: int):  # type: ignore[no-untyped-def]
        for _ in range(3):
            yield PLAIN + bytes(size)

    for size, why in ((400, "More came"), (300, "stopped 100 bytes before")):
        with blobs.writer("0" * 64, 1000) as writer, pytest.raises(ChunkError, match=why):
            asyncio.run(receive(chunks(size), writer, 1000))
        blobs.sweep(set(), -1)

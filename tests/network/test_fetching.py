"""What a child does when its parent takes long to send, or says nothing at all."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fogline.network.node.mirror import ReleaseMirror, VitalsBatcher
from fogline.network.node.node import Node
from fogline.network.transport.downlink import Downlink
from fogline.network.transport.messages import PIECE, Blob, Size
from fogline.network.transport.uplink import ConnectionLostError, Uplink
from fogline.processes.messages import encode
from fogline.registry.release import Tally, Vitals
from fogline.storage import Blobs, StorageFullError, open_blobs, open_database
from tests.network.cluster import Cluster, cluster
from tests.patience import PATIENCE

DATA = bytes(range(256)) * (PIECE // 64)
BLOB = Blob(hashlib.sha256(DATA).hexdigest(), len(DATA))
SHORT = 0.2


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child waits three times as long as a parent is silent."""
    for module in ("chunks", "downlink"):
        monkeypatch.setattr(f"fogline.network.transport.{module}.PATIENCE", SHORT)


async def fetched(made: Cluster, folder: Path) -> bytes:
    uplink = made.members["client-0"].node.uplink
    assert uplink is not None
    into = open_blobs(folder / "here", reserve=0)
    async with asyncio.timeout(PATIENCE):
        await uplink.fetch(BLOB, into)
    return into.path(BLOB.digest).read_bytes()


async def over_a_tree(folder: Path, fogs: int) -> bytes:
    async with cluster(folder, fogs=fogs, devices=1) as made:
        return await fetched(made, folder)


def test_a_parent_that_never_begins_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    fetch = Downlink.fetch

    async def mute_at_first(self: Downlink, request: bytes, context: Any) -> AsyncIterator[bytes]:
        asked.append(request)
        if len(asked) == 1:
            await asyncio.Event().wait()
        async for frame in fetch(self, request, context):
            yield frame

    async def at_once(self: Node, digest: str, doubted: bool = False) -> tuple[Path, int]:
        return tmp_path / "there", BLOB.size

    monkeypatch.setattr(Downlink, "fetch", mute_at_first)
    monkeypatch.setattr(Node, "obtain", at_once)
    (tmp_path / "there").write_bytes(DATA)

    assert asyncio.run(over_a_tree(tmp_path, fogs=0)) == DATA
    assert len(asked) == 2


def test_a_parent_that_fetches_itself_has_as_long_as_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def slowly(self: Node, digest: str, doubted: bool = False) -> tuple[Path, int]:
        asked.append(digest)
        await asyncio.sleep(6 * SHORT)
        return tmp_path / "there", BLOB.size

    monkeypatch.setattr(Node, "obtain", slowly)
    (tmp_path / "there").write_bytes(DATA)

    assert asyncio.run(over_a_tree(tmp_path, fogs=0)) == DATA
    assert asked == [BLOB.digest]


def test_what_nobody_waits_for_any_more_is_not_fetched_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def never(self: Node, digest: str, doubted: bool = False) -> tuple[Path, int]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    monkeypatch.setattr(Node, "obtain", never)

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made, asyncio.timeout(PATIENCE):
            child = asyncio.create_task(fetched(made, tmp_path))
            await begun.wait()
            child.cancel()
            await given_up.wait()

    asyncio.run(work())


def test_a_fog_that_is_cut_off_for_a_moment_is_not_one_that_has_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def cut_off_at_first(self: Uplink, method: str, message: object, seconds: float = 30.0) -> bytes:
        asked.append(method.rpartition("/")[2])
        if len(asked) == 1:
            raise ConnectionLostError("there is no connection")
        return encode(Size(BLOB.size))

    async def there(self: ReleaseMirror, digest: str, size: int | None = None) -> Path:
        return tmp_path / "there"

    monkeypatch.setattr(Uplink, "unary", cut_off_at_first)
    monkeypatch.setattr(ReleaseMirror, "obtain", there)
    (tmp_path / "there").write_bytes(DATA)

    assert asyncio.run(over_a_tree(tmp_path, fogs=1)) == DATA
    assert asked == ["Weigh", "Weigh"]


class Full:
    """A parent, and a disk with room for three files."""

    async def fetch(self, blob: Blob, into: Blobs) -> None:
        if sum(into.size(digest) for digest in into.all()) + blob.size > 3000:
            raise StorageFullError("there is no room")
        into.put(next(data for data in FILES if hashlib.sha256(data).hexdigest() == blob.digest))


FILES = [bytes([i]) * 1000 for i in range(6)]


def test_a_full_disk_of_a_mirror_has_room_for_what_is_wanted_now(tmp_path: Path) -> None:
    names = [hashlib.sha256(data).hexdigest() for data in FILES]

    async def work() -> None:
        with open_database(tmp_path / "fog.db") as database:
            blobs = open_blobs(tmp_path / "blobs", reserve=0)
            mirror = ReleaseMirror(Full(), database, blobs, "fog")  # type: ignore[arg-type]
            mirror.pinned = lambda: {names[0]}
            for name in (*names[:3], names[1], *names[3:5]):
                assert (await mirror.obtain(name, 1000)).is_file()
            assert set(blobs.all()) == {names[0], *names[3:5]}
            # What somebody deleted by hand is fetched again.
            blobs.delete(names[4])
            assert (await mirror.obtain(names[4], 1000)).is_file()
            mirror.pinned = lambda: set(names)
            with pytest.raises(StorageFullError):
                await mirror.obtain(names[5], 1000)

    asyncio.run(work())


def test_counts_of_the_time_without_a_parent_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fogline.network.node.mirror.PERIOD", 0.01)
    sent: list[Vitals] = []
    there: list[str] = []

    async def work() -> None:
        sums = VitalsBatcher(sent.append, lambda: bool(there))
        for _ in range(5):
            sums.add(Vitals("m", 1, Tally(answers=1)))
            sums.add(Vitals("m", 2, Tally(labels=2)))
            await asyncio.sleep(0.03)
        assert not sent
        there.append("fog")
        sums.flush()

    asyncio.run(work())
    assert [(one.version, one.tally.answers, one.tally.labels) for one in sent] == [(1, 5, 0), (2, 0, 10)]

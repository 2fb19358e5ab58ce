"""A cloud or a fog that goes back to a backup: nobody who was revoked comes in again, no number is given twice, and the
operator is told."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fogline.governance.errors import TrustError
from fogline.jobs.job import Publish
from fogline.network.cloud.client import Client, OperatorApiError, connect
from fogline.network.cloud.cloud import CloudUp, cloud, create
from fogline.network.cloud.records import LogLine
from fogline.network.cloud.release_source import ReleaseSource
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.mirror import ReleaseMirror, version_of
from fogline.network.node.process import Listening, NodeFolder, RunningNode, member
from fogline.network.transport.messages import ParentAddress
from fogline.registry.publisher import Publisher
from tests.network.cluster import LOCAL, cluster, job
from tests.network.processes import fleet, free_port, wait_for
from tests.patience import PATIENCE
from tests.registry.versions import card, written

JOB = job(rounds=1, fogs=1, clients=1)
ALL = 'quorum = 1.0\ndeadline = "10min"'


async def noticed(client: Client) -> list[LogLine]:
    """What the operator must know, once there is something."""
    async with asyncio.timeout(PATIENCE):
        while not (notices := await client.notices()):
            await asyncio.sleep(0.05)
    return notices


def rejoin(folder: Path) -> None:
    """As an operator of a device does: a new identity in place of the old one."""
    shutil.rmtree(folder / "identity")


def test_a_device_revoked_below_a_fog_comes_back_with_a_new_token(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=2) as made:
            fog, device = made.members["fog"], made.members["client-1"]
            for door in (ParentAddress("fog", fog.enrolment), ParentAddress("cloud", made.cloud.enrolment)):
                said = await made.client.revoke("client-1")
                assert "client-1 is cut off" in said
                assert "Heard by cloud, fog" in said
                async with asyncio.timeout(PATIENCE):
                    with pytest.raises(RuntimeError, match="client-1 was revoked by the operator"):
                        await asyncio.shield(device.failed)
                await made.stop("client-1")
                rejoin(tmp_path / "client-1")
                await made.join("client-1", "device", door)
                device = await made.start("client-1", [ParentAddress("fog", fog.address)])
                async with asyncio.timeout(PATIENCE):
                    await device.node.uplink.connection()  # type: ignore[union-attr]
                assert "client-1" in fog.node.downlink.sessions  # type: ignore[union-attr]

    asyncio.run(work())


def test_revoking_says_where_it_has_not_arrived(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=2, devices=1) as made:
            await made.stop("fog-1")
            async with asyncio.timeout(PATIENCE):
                while {known.name for known in await made.client.nodes() if known.up} & {"fog-1"}:
                    await asyncio.sleep(0.05)
            said = await made.client.revoke("client-0")
            assert "is cut off" not in said
            assert "cut off at cloud, fog-0, but not yet below fog-1 (away)" in said
            await made.start("fog-1", [made.parent_address], LOCAL)
            scheduler = made.cloud.scheduler
            assert scheduler is not None
            digest = scheduler.node.admission.holds
            assert await scheduler.job_store.until(lambda: scheduler.job_store.nodes["fog-1"].holds == digest, PATIENCE)

    asyncio.run(work())


@pytest.mark.slow
def test_a_restored_cloud_forgets_no_revocation(tmp_path: Path) -> None:
    """Real processes: the cloud's folder is copied, a device is revoked, and the copy is put back."""

    async def work() -> None:
        async with fleet(tmp_path, fogs=1, devices=2) as made:
            await made.finish(await made.submit(JOB, planned=False, wait=1.0))
            made.kill("cloud")
            shutil.copytree(tmp_path / "cloud", tmp_path / "backup")
            made.start("cloud")
            assert made.client is not None
            client: Client = made.client
            await wait_for(lambda: made._answers("cloud"))
            token = await client.token(NewToken("device"))
            await until_connected(client, "fog")
            assert "client-1 is cut off" in await client.revoke("client-1")
            assert await made.died("client-1") != 0
            made.kill("cloud")
            shutil.rmtree(tmp_path / "cloud")
            shutil.copytree(tmp_path / "backup", tmp_path / "cloud")
            made.start("cloud")
            await made.logged("cloud", "has gone back to a backup")
            made.start("client-1")
            assert await made.died("client-1") != 0
            assert "client-1 was revoked by the operator" in made.log("client-1")
            (notice,) = await client.notices()
            assert "Jobs go on at number 1001" in notice.why
            door = ParentAddress("cloud", made.specs["cloud"]["door"])
            with pytest.raises(TrustError, match="not known here"):
                await join(door, token, "late", "device", tmp_path / "late")
            record = await made.submit(JOB, planned=False, wait=1.0)
            assert record.serial == 1001
            assert "client-0 is cut off" in await client.revoke("client-0")
            assert await made.died("client-0") != 0

    asyncio.run(work())


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["cloud", "fog"])
def test_a_job_goes_on_after_a_restore(victim: str, tmp_path: Path) -> None:
    """Its rounds wait for all, so one that asks under a number that was answered before would wait for ever."""
    text = job(rounds=12, fogs=1, clients=2, cloud=ALL, fog=ALL, task="slow = 0.1")

    async def work() -> None:
        async with fleet(tmp_path, fogs=1, devices=2) as made:
            record = await made.submit(text)
            await made.rounds(record, 2)
            made.kill(victim)
            shutil.copytree(tmp_path / victim, tmp_path / "backup")
            made.start(victim)
            await made.rounds(record, 6)
            made.kill(victim)
            shutil.rmtree(tmp_path / victim)
            shutil.copytree(tmp_path / "backup", tmp_path / victim)
            made.start(victim)
            after = await made.finish(record)
            assert (after.state, after.done) == ("finished", 12)

    asyncio.run(work())


async def until_connected(client: Client, name: str) -> None:
    """Wait until the cloud says that a node is there."""
    async with asyncio.timeout(PATIENCE):
        while not any(known.name == name and known.up for known in await client.nodes()):
            await asyncio.sleep(0.1)


class Site:
    """A cloud at a fixed address, and a fog below it, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listening = Listening(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
        create(folder / "cloud")

    async def start(self, stack: AsyncExitStack) -> tuple[CloudUp, Client]:
        up = await stack.enter_async_context(cloud(NodeFolder(self.folder / "cloud"), self.listening))
        identity = self.folder / "cloud" / "operator" / "identity"
        return up, await stack.enter_async_context(connect(identity, "cloud", up.address))

    async def fog(self, stack: AsyncExitStack, up: CloudUp, client: Client) -> RunningNode:
        place = NodeFolder(self.folder / "fog")
        await join(
            ParentAddress("cloud", up.enrolment), await client.token(NewToken("fog")), "fog", "fog", place.identity
        )
        return await stack.enter_async_context(member(place, [ParentAddress("cloud", up.address)], LOCAL))


def test_a_member_that_a_backup_has_forgotten_shows_that_it_was_put_back(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def work() -> None:
        async with AsyncExitStack() as stack:
            up, client = await site.start(stack)
            token = await client.token(NewToken("device"))
        shutil.copytree(tmp_path / "cloud", tmp_path / "backup")
        async with AsyncExitStack() as below:
            async with AsyncExitStack() as stack:
                up, client = await site.start(stack)
                await site.fog(below, up, client)
                await until_connected(client, "fog")
                assert await client.notices() == []
            shutil.rmtree(tmp_path / "cloud")
            shutil.copytree(tmp_path / "backup", tmp_path / "cloud")
            for _ in range(2):  # And after one more start it is no news.
                async with AsyncExitStack() as stack:
                    up, client = await site.start(stack)
                    await until_connected(client, "fog")
                    (notice,) = await noticed(client)
                    assert "has no record of having let in" in notice.why
                    with pytest.raises(TrustError, match="not known here"):
                        await join(ParentAddress("cloud", up.enrolment), token, "late", "device", tmp_path / "late")

    asyncio.run(work())


def publisher_of(up: CloudUp) -> Publisher:
    assert isinstance(up.node.releases, ReleaseSource)
    return up.node.releases.publisher


def test_the_release_after_a_restore_has_higher_numbers_everywhere(tmp_path: Path) -> None:
    site = Site(tmp_path)

    def release(up: CloudUp, text: bytes) -> tuple[int, int]:
        """Publish a version to all; its number and that of its release."""
        publisher = publisher_of(up)
        made = publisher.publish(card(text, "m"), written(tmp_path / "files", text), Publish(rings=(1.0,)))
        state = publisher.model_reports("m")[0]
        assert state.release is not None
        return made.version, state.release.number

    async def work() -> None:
        async with AsyncExitStack() as below:
            async with AsyncExitStack() as stack:
                up, client = await site.start(stack)
                fog = await site.fog(below, up, client)
                assert release(up, b"one")[0] == 1
            shutil.copytree(tmp_path / "cloud", tmp_path / "backup")
            mirror = fog.node.releases
            assert isinstance(mirror, ReleaseMirror)
            async with AsyncExitStack() as stack:
                up, client = await site.start(stack)
                version, number = [release(up, text) for text in (b"two", b"three")][-1]
                newest = publisher_of(up).timestamp()
                await wait_for(lambda: mirror.timestamp == newest, PATIENCE)
            shutil.rmtree(tmp_path / "cloud")
            shutil.copytree(tmp_path / "backup", tmp_path / "cloud")
            async with AsyncExitStack() as stack:
                up, client = await site.start(stack)
                await wait_for(lambda: version_of(mirror.timestamp) > version_of(newest), PATIENCE)
                async with asyncio.timeout(PATIENCE):
                    while not (notices := await client.notices()):  # The newer signature is on its way up.
                        await asyncio.sleep(0.05)
                (notice,) = notices
                assert "versions of m at 1001" in notice.why
                again = release(up, b"four")
                assert (version, again[0]) == (3, 1001)
                assert again[1] > number
                with pytest.raises(OperatorApiError, match="nobody"):
                    await client.revoke("nobody")

    asyncio.run(work())

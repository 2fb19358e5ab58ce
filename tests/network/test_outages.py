"""Links that break, disks that fill, clocks that jump: rounds end, and no update is lost or counts twice."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

import pytest

from fogline.lab import FaultProxy
from fogline.network.transport.messages import ParentAddress
from tests.network.cluster import LOCAL, cluster, job
from tests.network.processes import fleet
from tests.network.test_jobs import same, simulated

pytestmark = pytest.mark.slow
ALL = "quorum = 1.0"
TEXT = job(rounds=12, fogs=1, clients=2, cloud=ALL, fog=ALL, more="exact = true", task="slow = 0.1")


@pytest.mark.parametrize("seconds", [0.3, 1.0, 4.0])
def test_a_fog_whose_uplink_breaks_goes_on_when_it_is_back(seconds: float, tmp_path: Path) -> None:
    """For about one, three and ten rounds; devices stay with their fog."""

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=0) as made:
            host, _, port = made.cloud.address.rpartition(":")
            async with FaultProxy(host, int(port)) as proxy:
                await made.join("fog", "fog")
                fog = await made.start("fog", [ParentAddress("cloud", f"127.0.0.1:{proxy.port}")], LOCAL)
                for i in range(2):
                    await made.join(f"client-{i}", "device")
                    await made.start(f"client-{i}", [ParentAddress("fog", fog.address)])
                record = await made.submit(TEXT)
                await made.until(record, "round")
                await proxy.refuse()
                proxy.cut()
                await asyncio.sleep(seconds)
                assert len(fog.node.downlink.sessions) == 2  # type: ignore[union-attr]
                await proxy.refuse(False)
                record = await made.finish(record)
                assert same(made.model(record), simulated(TEXT).params)
                await made.stop("client-0")
                await made.stop("client-1")
                await made.stop("fog")

    asyncio.run(work())


def test_a_device_that_comes_and_goes_costs_nothing_but_time(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            host, _, port = made.cloud.address.rpartition(":")
            async with FaultProxy(host, int(port)) as proxy:
                await made.join("client-1", "device")
                await made.start("client-1", [ParentAddress("cloud", f"127.0.0.1:{proxy.port}")])
                text = job(rounds=10, fogs=0, clients=2, cloud="quorum = 1", task="slow = 0.2")
                record = await made.submit(text)
                await made.until(record, "round")
                for _ in range(5):
                    proxy.cut()
                    await asyncio.sleep(0.3)
                record = await made.finish(record)
                assert (record.state, record.done) == ("finished", 10)
                assert any(what == "left" and who == "client-1" for what, who, _ in made.said(record))
                await made.stop("client-1")

    asyncio.run(work())


@pytest.mark.parametrize("victim", ["cloud", "fog", "client-0"])
def test_a_full_disk_holds_the_job_up_until_there_is_room(victim: str, tmp_path: Path) -> None:
    mark = tmp_path / "full"

    async def work() -> None:
        async with fleet(tmp_path) as made:
            made.kill(victim)
            made.start(victim, full=str(mark))
            record = await made.submit(TEXT)
            await made.rounds(record, 1)
            mark.touch()
            await asyncio.sleep(3)
            mark.unlink()
            record = await made.finish(record)
            assert record.state == "finished"
            if victim != "client-0":  # A device says that it cannot, and the round goes on without it.
                assert same(made.model(record), simulated(TEXT).params)
            said = [line.why for line in await made.lines(record)]
            assert any("the disk is full" in why for why in said) or "the disk is full" in made.log(victim)

    asyncio.run(work())


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_changes_nothing(days: int, tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            for name in ("fog", "client-0"):
                made.kill(name)
                made.start(name, clock=days * 86400)
            record = await made.finish(await made.submit(TEXT))
            assert record.state == "finished"
            assert same(made.model(record), simulated(TEXT).params)

    asyncio.run(work())


def test_a_node_whose_certificate_expired_says_so_and_ends(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            made.kill("client-0")
            made.start("client-0", clock=datetime.timedelta(days=40).total_seconds())
            dead = asyncio.create_task(made.died("client-0"))
            while not dead.done():  # Once its clock has jumped it has to dial anew, and its certificate is over.
                made.kill("fog")
                made.start("fog")
                await asyncio.wait({dead}, timeout=5)
            await dead
            assert "expired on" in made.log("client-0")

    asyncio.run(work())

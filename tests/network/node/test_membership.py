"""Certificates that renew themselves, and the owner's hours."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from fogline.governance.identity.checked import credentials
from fogline.network.node.schedule import keep_hours
from tests.network.cluster import cluster, job
from tests.patience import PATIENCE

DAY = 86400.0


@pytest.mark.slow
def test_certificates_renew_themselves_through_the_fog(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=1, days=6 / DAY) as made:
            before = {name: credentials(tmp_path / name / "identity").serial for name in ("fog", "client-0")}
            async with asyncio.timeout(PATIENCE):
                while any(credentials(tmp_path / name / "identity").serial == one for name, one in before.items()):
                    await asyncio.sleep(0.2)
            # The old ones have expired by now: whoever is connected shows a new one.
            await asyncio.sleep(5)
            record = await made.finish(await made.submit(job(rounds=1, fogs=1, clients=1)))
            assert record.state == "finished"

    asyncio.run(work())


def kept_hours(policy: Path, moments: list[tuple[int, bool]]) -> list[str]:
    """What a node is told under a policy, at hours of one day, on mains or not."""
    said: list[str] = []

    class Node:
        async def pause(self, why: str) -> None:
            said.append(why)

        def resume(self) -> None:
            said.append("resumed")

    async def work() -> None:
        steps = iter(moments)
        now = moments[0]

        def hour() -> datetime:
            nonlocal now
            now = next(steps)
            return datetime(2026, 11, 21, now[0])

        with pytest.raises(RuntimeError, match="StopIteration"):
            await keep_hours(Node(), policy, hour, lambda: now[1], look=0.0)  # type: ignore[arg-type]

    asyncio.run(work())
    return said


def test_a_node_keeps_its_owners_hours(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[limits]\nhours = ["22:00-06:00"]\nmains_only = true\n')
    said = kept_hours(policy, [(23, True), (23, False), (23, True), (7, True), (23, True)])
    assert said[1] == said[3] == "resumed"
    assert "battery" in said[0]
    assert "22:00" in said[2]


def test_a_policy_that_has_ended_pauses_its_node(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[valid]\nuntil = 2026-11-21T12:00:00\n")
    (said,) = kept_hours(policy, [(11, True), (12, True), (13, True)])
    assert "held until 2026-11-21 12:00" in said


@pytest.mark.slow
def test_a_paused_device_is_away_and_comes_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            text = job(rounds=8, fogs=0, clients=2, cloud="cohort = 1.0", task="slow = 0.1")
            record = await made.submit(text)
            await made.until(record, "round")
            node = made.members["client-1"].node
            await node.job_manager.pause("the owner's hours are closed")
            await made.until(record, "away")
            node.job_manager.resume()
            record = await made.finish(record)
            assert record.state == "finished"
            assert ("away", "client-1", "the owner's hours are closed") in made.said(record)

    asyncio.run(work())


@pytest.mark.slow
def test_a_job_that_is_offered_while_a_device_is_paused_begins_when_it_is_not(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            manager = made.members["client-0"].node.job_manager
            for _ in range(2):  # Put off twice: what is told of it is told again.
                await manager.pause("the owner's hours are closed")
                record = await made.submit(job(rounds=1, fogs=0, clients=1), planned=False)
                await made.until(record, "away")
                manager.resume()
                assert (await made.finish(record)).state == "finished"

    asyncio.run(work())


def test_a_parent_that_stops_says_so_and_breaks_off_no_stream(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise gRPC waits for the streams in vain, and logs a traceback for each."""

    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=1) as made:
            uplink = made.members["client-0"].node.uplink
            assert uplink is not None
            await uplink.connection()
            await made.stop("fog")
            async with asyncio.timeout(PATIENCE):
                while uplink.parent is not None:
                    await asyncio.sleep(0.01)

    asyncio.run(work())
    # gRPC forgets the reason where the child happens to write at that moment.
    assert any(
        f"client-0 lost fog: {why}" in caplog.text for why in ("its parent is stopped", "Internal error from Core")
    )
    assert [record.getMessage() for record in caplog.records if record.name.startswith("grpc")] == []

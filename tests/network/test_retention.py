"""What nodes delete by themselves, and what they never do."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fogline.governance.audit_log.audit_log import AuditLog
from fogline.governance.audit_log.records import decode_record
from fogline.governance.errors import SitePolicyError
from fogline.network.node.node import Node
from fogline.network.node.retention import DAY, RetentionTimer
from fogline.storage import open_database
from tests.network.cluster import Cluster, cluster, job
from tests.patience import PATIENCE


def keep(policy: Path, jobs: str = "", logs: str = "") -> None:
    lines = [f'{key} = "{days}"' for key, days in (("jobs", jobs), ("logs", logs)) if days]
    policy.write_text("\n".join([policy.read_text(), "[retention]", *lines]) + "\n")


def log_of(node: Node, name: str, days: float) -> Path:
    """A log whose last line is so old."""
    path = node.log_file(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("said\n")
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def acts(log: AuditLog) -> list[tuple[str, str, str]]:
    found = [decode_record(line) for line in log.lines(log.size)]
    kinds = ("job.forgotten", "log.deleted")
    return [(one.what, one.about, str(one.facts["why"])) for one in found if one.what in kinds]


async def aged(made: Cluster, job_id: str, days: float) -> None:
    """The job has been over for so long."""
    store = made.cloud.scheduler.job_store  # type: ignore[union-attr]
    await store.put(msgspec.structs.replace(store.record(job_id), ended_at=time.time() - days * DAY))


def test_a_cloud_forgets_what_is_long_over_and_nothing_else(tmp_path: Path) -> None:
    async def play() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            node, scheduler, policy = made.cloud.node, made.cloud.scheduler, tmp_path / "cloud" / "policy.toml"
            assert scheduler is not None
            text = job(rounds=1, fogs=0, clients=1)
            old, young = [(await made.finish(await made.submit(text))).job for _ in range(2)]
            assert time.time() - scheduler.job_store.record(old).ended_at < PATIENCE
            running = await made.submit(job(rounds=1000, fogs=0, clients=1, task="slow = 0.1"))
            await made.until(running, "began")
            await aged(made, old, days=91)
            await aged(made, young, days=89)
            os.utime(node.log_file(running.job), (0, 0))
            orphan, server = log_of(node, "gone-1-0000", days=91), log_of(node, "serving", days=91)
            timer = RetentionTimer(node, policy, scheduler.forget_before)
            await timer.turn()  # Nobody has asked for that yet.
            assert timer.first_wait() == 0.0
            assert orphan.exists()
            keep(policy, jobs="90d", logs="90d")
            await timer.turn()
            assert [record.job for record in scheduler.job_store.records()] == [young, running.job]
            assert not (tmp_path / "cloud" / "runs" / old).exists()
            assert (tmp_path / "cloud" / "runs" / young / "model.safetensors").exists()
            assert not orphan.exists()
            assert server.exists()
            assert node.log_file(running.job).exists()
            assert acts(node.audit.log) == [
                ("job.forgotten", old, "retention.jobs is 90d"),
                ("log.deleted", "gone-1-0000", "retention.logs is 90d"),
            ]
            await made.client.stop(running.job, "discard")

    asyncio.run(play())


def test_a_device_deletes_old_logs_of_jobs_that_it_needs_no_more(tmp_path: Path) -> None:
    async def play() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            device, policy = made.members["client-0"].node, tmp_path / "client-0" / "policy.toml"
            running = await made.submit(job(rounds=1000, fogs=0, clients=1, task="slow = 0.1"))
            await made.until(running, "began")
            async with asyncio.timeout(PATIENCE):
                while not device.job_manager.participations:
                    await asyncio.sleep(0.01)
            needed, old, young = log_of(device, running.job, 40), log_of(device, "a", 40), log_of(device, "b", 20)
            keep(policy, jobs="1d", logs="30d")  # It has no jobs of its own.
            timer = RetentionTimer(device, policy)
            await device.job_manager.pause("the hours are closed")
            await timer.turn()
            assert [path.exists() for path in (needed, old, young)] == [True, False, True]
            assert acts(device.audit.log) == [("log.deleted", "a", "retention.logs is 30d")]

            policy.write_text('[retention]\nlogs = "soon"\n')
            log_of(device, "a", 4000)
            with pytest.raises(SitePolicyError, match=r"retention\.logs is 'soon'; write days, such as 90d"):
                await timer.turn()
            assert (tmp_path / "client-0" / "logs" / "a.log").exists()
            device.job_manager.resume()
            await made.client.stop(running.job, "discard")

    asyncio.run(play())


def test_the_day_goes_on_over_a_restart_and_a_clock_that_was_wrong(tmp_path: Path) -> None:
    policy, now = tmp_path / "policy.toml", [1e9]
    policy.write_text('[retention]\nlogs = "1d"\n')
    with open_database(tmp_path / "records.sqlite") as database:
        node: Any = SimpleNamespace(name="press", database=database, folder=tmp_path, logs=list)

        def timer() -> RetentionTimer:
            return RetentionTimer(node, policy, clock=lambda: now[0])

        assert timer().first_wait() == 0.0
        asyncio.run(timer().turn())
        assert timer().first_wait() == DAY
        now[0] += 0.75 * DAY
        assert timer().first_wait() == 0.25 * DAY  # As after a restart.
        now[0] += 10 * DAY
        assert timer().first_wait() == 0.0
        now[0] = 5e8
        assert timer().first_wait() == DAY


def test_a_node_that_starts_does_what_is_due(tmp_path: Path) -> None:
    async def play() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            device = made.members["client-0"].node
            old = log_of(device, "a", 2)
            await made.stop("client-0")
            keep(tmp_path / "client-0" / "policy.toml", logs="1d")
            await made.start("client-0", [made.parent_address])
            async with asyncio.timeout(PATIENCE):
                while old.exists():
                    await asyncio.sleep(0.01)

    asyncio.run(play())

"""What a cloud forgets when it is told to, and what it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.governance.audit_log.records import decode_record
from fogline.network.cloud.client import RequestRefusedError
from fogline.network.cloud.job_store import NODES
from fogline.registry.restored import read_floors
from tests.network.cluster import cluster, job
from tests.patience import PATIENCE


def test_jobs_that_are_over_go_and_their_numbers_stay_taken(tmp_path: Path) -> None:
    async def play() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            text = job(rounds=1, fogs=0, clients=1)
            first, second = [await made.finish(await made.submit(text)) for _ in range(2)]
            running = await made.submit(job(rounds=1000, fogs=0, clients=1, task="slow = 0.1"))
            await made.until(running, "began")
            database, blobs = made.cloud.node.database, made.cloud.node.value_store.blobs
            with pytest.raises(RequestRefusedError, match="is not over; end it first"):
                await made.client.forget_jobs(running.job)
            with pytest.raises(RequestRefusedError, match="no job 'none'"):
                await made.client.forget_jobs("none")
            with pytest.raises(RequestRefusedError, match="name a job"):
                await made.client.forget_jobs()
            assert await made.client.forget_jobs(older=3600.0) == "No job has been over for so long."
            runs = tmp_path / "cloud" / "runs"
            assert (runs / second.job / "model.safetensors").exists()
            assert await made.client.forget_jobs(second.job) == f"Forgotten: {second.job}."
            assert not (runs / second.job).exists()
            assert second.job not in database.streams()
            assert not database.notes(f"job/{second.job}")
            assert database.get("job", second.job) is None
            with pytest.raises(RequestRefusedError, match="no job"):
                await made.client.jobs(second.job)
            others = {first.bundle.digest, running.bundle.digest}
            assert blobs.has(second.bundle.digest) == (second.bundle.digest in others)
            assert (runs / first.job / "model.safetensors").exists()
            await made.client.stop(running.job, "discard")
            await made.finish(running)
            await made.client.forget_jobs(older=0.0)
            assert await made.client.jobs() == []
            assert not blobs.has(first.bundle.digest)
            assert read_floors(database).jobs == running.serial
            made.cloud.scheduler.job_store._given = 0  # type: ignore[union-attr]  # As after a restart.
            again = await made.finish(await made.submit(text))
            assert (again.state, again.serial) == ("finished", running.serial + 1)
            log = made.cloud.node.audit.log
            audited = [decode_record(line).what for line in log.lines(log.size)]
            assert audited.count("job.forgotten") == 3

    asyncio.run(play())


def test_a_node_that_was_revoked_goes_from_the_list_and_stays_cut_off(tmp_path: Path) -> None:
    async def play() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            with pytest.raises(RequestRefusedError, match="is a member"):
                await made.client.forget_node("client-0")
            with pytest.raises(RequestRefusedError, match="no node named 'x'"):
                await made.client.forget_node("x")
            await made.client.revoke("client-0")
            async with asyncio.timeout(PATIENCE):
                while any(node.name == "client-0" and node.up for node in await made.client.nodes()):
                    await asyncio.sleep(0.05)
            said = await made.client.forget_node("client-0")
            assert said.startswith("client-0 is forgotten. That it was revoked is kept")
            assert [node.name for node in await made.client.nodes()] == ["client-1"]
            assert made.cloud.node.database.get(NODES, "client-0") is None
            await made.stop("client-0")
            up = await made.start("client-0", [made.parent_address])
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(Exception, match="was revoked by the operator"):
                    await asyncio.shield(up.failed)
            assert [node.name for node in await made.client.nodes()] == ["client-1"]
            assert await made.client.notices() == []  # It is not taken for a cloud that went back to a backup.

    asyncio.run(play())

"""The cloud's store of jobs: numbers are given once, and a clean end leaves nothing to complain of."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from fogline.network.cloud.job_store import NODES, JobStore
from fogline.network.cloud.records import NodeInfo, Record
from fogline.network.transport.messages import Blob
from fogline.processes.messages import encode
from fogline.processes.tasks import Tasks
from fogline.storage import StorageError, open_database
from tests.network.cluster import cluster, job
from tests.patience import PATIENCE


def test_jobs_that_come_at_the_same_time_get_numbers_of_their_own(tmp_path: Path) -> None:
    text = job(rounds=1, fogs=0, clients=1)

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=0, parallel=0) as made:
            first = await made.submit(text)
            scheduler = made.cloud.scheduler
            assert scheduler is not None
            more = await asyncio.gather(
                *(scheduler.submit("operator", text, first.bundle, 0, False, 1.0) for _ in range(2))
            )
            assert [record.serial for record in (first, *more)] == [1, 2, 3]
            assert [record.serial for record in scheduler.job_store.records()] == [1, 2, 3]

    asyncio.run(work())


def test_who_leaves_after_the_job_store_were_closed_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        database = open_database(tmp_path / "records.sqlite")
        job_store = JobStore(database, "cloud")
        job_store.close()
        database.close()
        job_store.met(NodeInfo("client-0", "device", "cloud", False, 0.0))
        job_store.note("job-1", "left", child="client-0")
        await asyncio.sleep(0.1)
        assert not job_store.nodes["client-0"].up

    with caplog.at_level(logging.INFO):
        asyncio.run(work())
    assert "left client-0" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_round_stands_in_the_clouds_log_with_its_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who reads the cloud's own log, and not ``jobs logs``, sees the same."""

    async def work() -> None:
        database = open_database(tmp_path / "records.sqlite")
        job_store = JobStore(database, "cloud")
        record = Record("j-1", "j", "running", 0, 1, "ana", "", Blob("0" * 64, 1), 0.0, rounds=8, headline="accuracy")
        await job_store.put(record)
        job_store.note("j-1", "round", row={"round": 3.0, "devices": 2.0, "accuracy": 0.5, "seconds": 9.0})
        job_store.close()
        database.close()

    with caplog.at_level(logging.INFO):
        asyncio.run(work())
    assert "cloud: round 3 of 8, 2 devices, accuracy 50.00 %, clock 9.0 s" in caplog.messages


def test_after_a_restart_nodes_are_away_since_then_or_since_they_left(tmp_path: Path) -> None:
    database = open_database(tmp_path / "records.sqlite")
    for known in (
        NodeInfo("there", "device", "cloud", True, 5.0),
        NodeInfo("gone", "device", "cloud", False, 7.0, why="it went away"),
    ):
        database.put(NODES, known.name, encode(known))
    job_store = JobStore(database, "cloud")
    job_store.load()
    there, gone = job_store.nodes["there"], job_store.nodes["gone"]
    assert (gone.up, gone.since, gone.why) == (False, 7.0, "it went away")
    assert (there.up, there.why) == (False, "the cloud was restarted")
    assert there.since > gone.since
    database.close()


def test_what_is_begun_after_the_end_does_not_run() -> None:
    ran: list[str] = []

    async def step() -> None:
        ran.append("step")

    async def work() -> None:
        tasks = Tasks("cloud")
        await tasks.spawn(step())
        tasks.cancel()
        await asyncio.wait((tasks.spawn(step()),))

    asyncio.run(work())
    assert ran == ["step"]


def test_what_is_kept_while_the_cloud_stops_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """An operator's last call is still being answered when the database is closed."""
    started, closed = threading.Event(), threading.Event()

    class Closing:
        def put(self, *_: object) -> None:
            started.set()
            assert closed.wait(PATIENCE)
            raise StorageError("the database cannot be used any more: it is closed")

    async def work() -> None:
        job_store = JobStore(Closing(), "cloud")  # type: ignore[arg-type]
        stopping = asyncio.create_task(job_store.put(record))
        assert await asyncio.to_thread(started.wait, PATIENCE)
        job_store.close()
        closed.set()
        await stopping
        started.clear()
        await job_store.put(record)
        assert not started.is_set(), "nothing is kept any more"

    record = Record("toy-1", "toy", "stopped", 0, 1, "operator", "", Blob("0" * 64, 0), 0.0)
    asyncio.run(work())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

"""A cloud on PostgreSQL and S3."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fogline.jobs.files.reading import parse_job
from fogline.network.cloud.cloud import cloud
from fogline.network.node.process import Listening, NodeFolder
from fogline.simulation.run import run
from tests.network.cluster import cluster, job
from tests.network.small import numbers


@pytest.mark.slow
def test_a_cloud_on_postgres_and_s3_goes_on_after_a_restart(tmp_path: Path, postgres: str, s3: str) -> None:
    text = job(rounds=6, fogs=0, clients=2, cloud="quorum = 1.0").replace("small:task", "small:numbers")

    async def work() -> None:
        place = NodeFolder(tmp_path / "cloud", store=postgres, blobs=s3)
        async with cluster(tmp_path, fogs=0, devices=2, place=place) as made:
            record = await made.submit(text)
            await made.until(record, "round")
            assert not (tmp_path / "cloud" / "records.sqlite").exists()
            address = made.cloud.address
        # Everything has ended; the cloud alone starts again, and finds the job in its store.
        async with AsyncExitStack() as stack:
            up = await stack.enter_async_context(cloud(place, Listening(address, "127.0.0.1:0")))
            assert up.scheduler is not None
            kept = up.scheduler.job_store.record(record.job)
            assert kept.state in ("running", "finished")
            assert up.scheduler.job_store.lines(record.job)[0][1].what == "loading"

    asyncio.run(work())


@pytest.mark.slow
def test_its_model_is_that_of_a_folder(tmp_path: Path, postgres: str, s3: str) -> None:
    text = job(rounds=3, fogs=0, clients=2, cloud="quorum = 1.0").replace("small:task", "small:numbers")

    async def work() -> None:
        place = NodeFolder(tmp_path / "cloud", store=postgres, blobs=s3)
        async with cluster(tmp_path, fogs=0, devices=2, place=place) as made:
            record = await made.finish(await made.submit(text))
            assert record.state == "finished"
            described = parse_job(text).model_copy(update={"engine": "loop", "processes": 0})
            expected = run(described, numbers(clients=2), progress=False).params
            assert (made.model(record).vector == expected.vector).all()

    asyncio.run(work())

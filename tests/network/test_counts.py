"""Rounds on real nodes that may not count, and what becomes of their jobs."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import numpy as np
import pytest

from fogline.aggregation import Partial
from fogline.compute.files import write
from fogline.governance.identity.identity import Identity
from fogline.network.cloud.records import Record
from fogline.network.node.node import DOWN
from fogline.network.transport import messages as c
from fogline.network.transport.grpc import dial
from fogline.nodes.messages import Hello, Report, Work
from fogline.processes.messages import encode
from tests.network.cluster import Cluster, cluster, job
from tests.patience import PATIENCE
from tests.toy import SPEC


def rows(made: Cluster, record: Record) -> list[dict[str, float]]:
    assert made.cloud.scheduler is not None
    return [line.row for _, line in made.cloud.scheduler.job_store.lines(record.job) if line.row is not None]


def rounds_told(made: Cluster, record: Record, what: str) -> list[int]:
    """In which rounds the root told it, as the job's log says."""
    assert made.cloud.scheduler is not None
    lines = made.cloud.scheduler.job_store.lines(record.job)
    return [line.round for _, line in lines if (line.node, line.what) == ("cloud", what)]


def test_a_count_is_not_cut_to_who_is_connected(tmp_path: Path) -> None:
    soon = 'deadline = "1s"'
    counts = {
        "1 could be asked, the quorum is 3": job(rounds=2, fogs=0, cloud=f"quorum = 3\n{soon}"),
        "1 could be asked, the quorum is 2": job(rounds=2, fogs=0, cloud=f"cohort = 4\n{soon}"),
        "1 device could be asked, the job's minimum is 3": job(rounds=2, fogs=0, cloud=soon, more="tree.minimum = 3"),
    }

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            for why, text in counts.items():
                record = await made.finish(await made.submit(text, wait=0.2))
                assert (record.state, record.done) == ("failed", 0)
                assert record.why.startswith("No round of 2 counted")
                assert f"2 × {why}" in record.why
            # A round waits for those that are missing, and has them all.
            waiting = [await made.submit(text.replace("1s", "100s"), wait=0.2) for text in counts.values()]
            for record in waiting:
                await made.until(record, "missing")
            for name in ("client-1", "client-2"):
                await made.join(name, "device")
                await made.start(name, [made.parent_address])
            fewest = (3, 2, 3)
            for record, least in zip(waiting, fewest, strict=True):
                ended = await made.finish(record)
                assert (ended.state, ended.done) == ("finished", 2)
                assert all(row["devices"] >= least for row in rows(made, record))

    asyncio.run(work())


def test_a_job_whose_devices_all_fail_is_a_failure_that_says_why(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=1) as made:
            record = await made.finish(await made.submit(job(rounds=3, fogs=1, clients=1, task="broken = 0")))
            assert (record.state, record.done) == ("failed", 0)
            assert "3 × RuntimeError: the sensor is unplugged" in record.why
            assert "3 × none of its rounds reached the quorum" in record.why
            assert made.said(record)[-1] == ("failed", "cloud", record.why)
            assert rounds_told(made, record, "abandoned") == [1, 2, 3]
            assert rounds_told(made, record, "failed")[-1] == 3

    asyncio.run(work())


def test_batch_normalisation_loses_no_device_to_a_last_batch_of_one(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    """Each has 20 examples."""
    text = job(rounds=2).replace("small:task", "small:layered").replace("batch_size = 5", "batch_size = 19")
    made = clusters[2]

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.why) == ("finished", "")
        assert [row["devices"] for row in rows(made, record)] == [4, 4]

    runner.run(work())


def spoiled(path: Path) -> bytes:
    """A partial result of the right form that holds numbers that are none."""
    sums = {"delta": np.zeros(SPEC.trainable, np.float32), "buffers": np.full(4, np.nan, np.float32)}
    part = Partial(sums, dict.fromkeys(sums, 10.0), np.zeros(SPEC.integers, np.int64), 1)
    write(str(path), part)
    return path.read_bytes()


@pytest.mark.parametrize("readable", [False, True])
def test_a_round_of_which_all_partial_results_are_refused_does_not_count(readable: bool, tmp_path: Path) -> None:
    text = job(rounds=2, fogs=1, clients=1)
    partial = spoiled(tmp_path / "partial") if readable else b"rubbish"
    blob = c.Blob(hashlib.sha256(partial).hexdigest(), len(partial), partial)

    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=0) as made:
            await made.stop("fog")
            async with dial(Identity.load(made.folder / "fog" / "identity"), made.cloud.address, "cloud") as opened:
                call = opened.stream_stream(f"/{c.SERVICE}/Control")()
                await call.write(encode(c.Present(c.PROTOCOL, address="127.0.0.1:9")))
                await call.read()
                record = await made.submit(text, wait=0.2)
                async with asyncio.timeout(PATIENCE):
                    while isinstance(answer := await call.read(), bytes):
                        match DOWN.decode(answer):
                            case c.Offer():
                                await call.write(encode(c.JoinedJob(record.job, Hello(devices=1))))
                            case c.NodeMessage(message=Work(task=task)):
                                said = Report(task, f"cloud#{task}", 20, 1)
                                await call.write(encode(c.NodeMessage(record.job, said, blob)))
                            case c.JobEnded():
                                break
                            case _:
                                pass
                call.cancel()
            record = await made.finish(record)
            assert (record.state, record.done) == ("failed", 0)
            assert rows(made, record) == []
            assert ("Its vector 'buffers' is not finite" if readable else "It cannot be read") in record.why
            assert "2 rounds were abandoned (2 × 0 reports, the quorum is 1)" in record.why
            assert not (made.folder / "cloud" / "runs" / record.job / "model.safetensors").exists()

    asyncio.run(work())


def test_who_stops_a_job_says_what_becomes_of_its_model(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            text = job(rounds=500, fogs=0, clients=2, publish="")
            why = 'The job was stopped; publish.even_if = ["stopped"] would publish what it has all the same'
            for how, asked in (("keep", False), ("publish", True), ("discard", False)):
                record = await made.submit(text)
                await made.until(record, "round")
                await made.client.stop(record.job, how)  # pyright: ignore[reportArgumentType]
                record = await made.finish(record)
                assert (record.state, record.stop) == ("stopped", how)
                told = [why for what, _, why in made.said(record) if what == "not published"]
                # Where it is asked for, it is tried; the toy model has no graph.
                assert [one.startswith(why) for one in told] == ([] if how == "discard" else [not asked])
                folder = made.folder / "cloud" / "runs" / record.job
                assert (folder / "model.safetensors").exists() == (how != "discard")

    asyncio.run(work())

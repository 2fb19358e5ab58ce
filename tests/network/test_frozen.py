"""What is frozen of a model goes to every node once, with the job, and never up: on real nodes as in a simulation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fogline.jobs.files.reading import parse_job
from fogline.monitoring.result import Result
from fogline.network.cloud.records import Record
from fogline.network.node.participation.frozen import FROZEN
from fogline.network.transport.downlink import FETCH, Downlink
from fogline.network.transport.messages import ParentAddress
from fogline.network.worker.client import WorkerClient, WorkerError
from fogline.network.worker.job_worker import JobWorker
from fogline.network.worker.requests import Describe, Open
from fogline.params import Params, frozen_of, load, save, to_bytes
from fogline.registry.publisher import Publisher
from fogline.simulation.run import run
from tests.network.cluster import HERE, Cluster, cluster, job
from tests.network.processes import fleet, wait_for
from tests.network.small import backbone
from tests.network.test_jobs import same
from tests.network.test_stages import Wire, books_of, measured
from tests.patience import PATIENCE

ALL = "quorum = 1.0"


def text(**settings: Any) -> str:
    return job(**settings).replace("small:task", "small:backbone")


def simulated(described: str, **parameters: Any) -> Result:
    asked = parse_job(described).model_copy(update={"engine": "loop", "processes": 0, "start": ""})
    return run(asked, backbone(**dict(asked.task_parameters) | parameters), progress=False)


JUDGES = {
    "the cloud judges": "",
    "devices judge": '[evaluation]\nwhere = "devices"\nevery = 3\nshare = 0.2\n',
}


@pytest.mark.parametrize("judges", JUDGES)
@pytest.mark.parametrize("fogs", [0, 2])
def test_a_job_gives_the_simulators_model_and_metrics_to_the_bit(
    fogs: int, judges: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made, asked = clusters[fogs], text(fogs=fogs, more='algorithm = "fedprox"') + JUDGES[judges]

    async def work() -> None:
        record = await made.finish(await made.submit(asked))
        assert (record.state, record.why) == ("finished", "")
        expected = simulated(asked)
        assert same(made.model(record), expected.params)
        assert made.cloud.scheduler is not None
        rows = [line.row for _, line in made.cloud.scheduler.job_store.lines(record.job) if line.row is not None]
        losses = [[row["loss"] for row in each if "loss" in row] for each in (rows, expected.history)]
        assert losses[0] == losses[1]
        assert len(losses[0]) == (1 if JUDGES[judges] else 3)

    runner.run(work())


def test_clock_books_and_wire_agree_to_a_hundredth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size, head, clients, rounds, least = 2_000_000, 200_000, 2, 3, 100_000
    stages = 'uplink = ["int8"]\ndownlink = ["int8"]'  # What else travels is bytes that no compression shrinks.
    asked = text(rounds=rounds, fogs=0, clients=clients, cloud=stages, task=f"size = {size}\nhead = {head}")
    books, wire = books_of(monkeypatch, least), Wire()

    async def work() -> np.ndarray:
        async with cluster(tmp_path, fogs=0, devices=0) as made:
            return await measured(made, wire, asked)

    model, expected = asyncio.run(work()), simulated(asked)
    row, frozen = expected.history[-1], frozen_of(expected.params)
    assert frozen is not None
    assert np.array_equal(model, expected.params.vector)
    assert books["up"] == row["up/cloud"] < 1.02 * clients * rounds * head < wire.up
    assert wire.up < 1.02 * row["up/cloud"], "a byte for each number of the head"
    assert books["down"] == pytest.approx(row["down/cloud"], rel=0.001)  # Without receipts.
    assert row["down/cloud"] == pytest.approx(clients * (len(to_bytes(frozen)) + rounds * 1.02 * head), rel=0.01)
    assert row["down/cloud"] < wire.down < 1.01 * row["down/cloud"]


def other_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int]:
    """A model with other frozen entries than the seed's, as what ``start = "other"`` names; the sum of its codes."""
    first = backbone().initial(7)
    save(folder / "start.safetensors", first)
    monkeypatch.setattr(Publisher, "weights", lambda _, name: {"other": folder / "start.safetensors"}[name])
    return folder / "start.safetensors", int(first.counters.sum())


def test_devices_have_what_the_start_has_frozen_also_those_that_come_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, expected = other_start(tmp_path, monkeypatch)

    async def work() -> tuple[Record, Params, list[Any]]:
        async with cluster(tmp_path, fogs=1, devices=1) as made:
            asked = text(
                rounds=8, fogs=1, clients=2, more='start = "other"', task=f"expected = {expected}\npause = 0.3"
            )
            record = await made.submit(asked, planned=False, wait=0.0)
            await made.until(record, "round")
            await made.join("client-1", "device")
            late = await made.start("client-1", [ParentAddress("fog", made.members["fog"].address)])
            record = await made.finish(record)
            rows = [line.row for _, line in made.cloud.scheduler.job_store.lines(record.job) if line.row]  # type: ignore[union-attr]
            await wait_for(lambda: not late.node.database.values(record.job))
            return record, made.model(record), rows

    record, model, rows = asyncio.run(work())
    assert (record.state, record.why) == ("finished", "")
    assert model.counters.sum() == expected
    assert frozen_of(model) is not None
    assert same(frozen_of(model), frozen_of(load(start)))  # type: ignore[arg-type]
    assert rows[0]["devices"] == 1
    assert rows[-1]["devices"] == 2
    assert sum(row.get("failed", 0) for row in rows) == 0


def test_jobs_share_the_file_and_the_last_one_takes_it_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: Counter[str] = Counter()
    fetch = Downlink.fetch

    async def counted(self: Downlink, request: bytes, context: Any) -> AsyncIterator[bytes]:
        fetched[FETCH.decode(request).digest] += 1
        async for piece in fetch(self, request, context):
            yield piece

    monkeypatch.setattr(Downlink, "fetch", counted)
    frozen = frozen_of(backbone().initial(0))
    assert frozen is not None

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            device, cloud = made.members["client-0"].node, made.cloud.node
            long, short = (text(rounds=n, fogs=0, clients=1, task="pause = 0.2") for n in (60, 2))
            one = await made.submit(long)
            await made.until(one, "round")
            other = await made.finish(await made.submit(short))
            assert other.state == "finished"
            value = device.database.values(one.job)[FROZEN]
            assert value.size == len(to_bytes(frozen))
            assert cloud.database.values(one.job)[FROZEN] == value == cloud.database.values(other.job)[FROZEN]
            await wait_for(lambda: other.job not in device.database.streams())
            assert device.value_store.holds(value.digest, value.size)
            assert fetched[value.digest] == 1
            await made.client.stop(one.job)
            await wait_for(lambda: not device.value_store.blobs.has(value.digest))

    asyncio.run(work())


@pytest.mark.parametrize("damage", ["changed", "gone", "another model's"])
def test_a_file_that_cannot_be_used_is_told_in_a_sentence(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whys = {
        "changed": "the frozen part of the model did not come: What cloud sent is damaged",
        "gone": "the frozen part of the model did not come: There is no blob",
        "another model's": "frozen entries are not those of the model here: 'codes' is missing, or has another shape",
    }

    async def work() -> str:
        async with cluster(tmp_path, fogs=0, devices=0) as made:
            record = await made.submit(text(fogs=0, clients=1), planned=False, wait=0.0)
            await made.until(record, "began")
            await wait_for(lambda: FROZEN in made.cloud.node.database.values(record.job))
            value = made.cloud.node.database.values(record.job)[FROZEN]
            path = made.cloud.node.value_store.blobs.path(value.digest)
            await made.join("client-0", "device")
            if damage == "changed":
                path.chmod(0o600)
                path.write_bytes(bytes(value.size))
            elif damage == "gone":
                path.unlink()
            else:
                other = frozen_of(backbone(size=10).initial(0))
                assert other is not None
                save(tmp_path / "other", other)
                worker_client = type(made.cloud.node.job_manager).worker_client

                def wrong(*asked: Any, **more: Any) -> WorkerClient:
                    client = worker_client(*asked, **more)
                    client.opening = msgspec.structs.replace(client.opening, frozen=str(tmp_path / "other"))
                    return client

                monkeypatch.setattr(type(made.cloud.node.job_manager), "worker_client", wrong)
            device = (await made.start("client-0", [made.parent_address])).node
            why = (await made.until(record, "away")).why
            assert not device.value_store.blobs.has(value.digest), "what came for nothing is let go"
            assert not device.database.values(record.job)
            await made.client.stop(record.job)
            return why

    assert whys[damage] in asyncio.run(work())


def test_a_file_that_a_power_cut_damaged_is_fetched_anew(tmp_path: Path) -> None:
    asked = text(rounds=5, fogs=0, clients=2, cloud=ALL, more="exact = true", task="pause = 0.2")

    async def work() -> Params:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            record = await made.submit(asked)
            await made.until(record, "round")
            store = made.members["client-0"].node.value_store
            value = made.members["client-0"].node.database.values(record.job)[FROZEN]
            path = store.blobs.path(value.digest)
            await made.stop("client-0")
            path.chmod(0o600)
            path.write_bytes(bytes(value.size))
            await made.start("client-0", [made.parent_address])
            record = await made.finish(record)
            assert (record.state, record.why) == ("finished", "")
            return made.model(record)

    assert same(asyncio.run(work()), simulated(asked, pause=0.0).params)


def test_a_device_that_is_given_nothing_says_so(tmp_path: Path) -> None:
    asked = text(fogs=0, clients=1)
    (tmp_path / "small.py").write_bytes((HERE / "small.py").read_bytes())
    worker_client = WorkerClient(Open(str(tmp_path), asked, client="client-0"), tmp_path / "log", PATIENCE)

    async def work() -> None:
        try:
            with pytest.raises(WorkerError, match="frozen entries are not those of the model here: 'body' is missing"):
                await worker_client.open()
        finally:
            await worker_client.close()

    asyncio.run(work())


def test_a_cloud_that_begins_anew_goes_on_with_what_its_nodes_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the job started with may be another version in the registry by then."""
    monkeypatch.syspath_prepend(HERE)
    kept = frozen_of(backbone().initial(7))
    assert kept is not None
    save(tmp_path / "kept", kept)
    worker = JobWorker(Open(str(HERE), text(fogs=0), frozen=str(tmp_path / "kept")))
    group, model, out = (str(tmp_path / name) for name in ("group", "model", "out"))
    described = worker.describe(Describe(group, model, "cloud@0", frozen=out))
    assert described.frozen
    assert Path(out).read_bytes() == (tmp_path / "kept").read_bytes()
    judged = worker.params(group)
    assert same(frozen_of(judged), kept)  # type: ignore[arg-type]
    assert np.array_equal(judged.view("head"), backbone().initial(0).view("head"))


DEATHS = {
    "client-0": ("fogline.network.node.participation.computing:Computation.train", True),
    "fog": ("fogline.network.node.participation.computing:Computation.carry_out", True),
    "cloud": ("fogline.network.node.participation.computing:Computation.carry_out", False),
}


@pytest.mark.slow
@pytest.mark.parametrize("victim", [*DEATHS, "all"])
def test_a_node_that_dies_comes_back_with_what_is_frozen(victim: str, tmp_path: Path) -> None:
    asked = text(rounds=4, fogs=1, clients=2, cloud=ALL, fog=f"{ALL}\ncohort = 2", more="exact = true")

    async def work() -> None:
        async with fleet(tmp_path) as made:
            if victim != "all":
                where, after = DEATHS[victim]
                made.kill(victim)
                made.start(victim, call=(where, 2, after))
            record = await made.submit(asked)
            if victim == "all":
                await made.rounds(record, 2)
                for name in list(made.running):
                    made.kill(name)
                for name in made.specs:
                    made.start(name)
            else:
                await made.died(victim)
                made.start(victim)
            record = await made.finish(record)
            assert (record.state, record.why) == ("finished", "")
            assert same(made.model(record), simulated(asked).params)

    asyncio.run(work())

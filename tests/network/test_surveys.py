"""Devices judge the model on real nodes, and find what they find in a simulation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result, Row
from fogline.network.cloud.records import Record
from tests.network.cluster import HERE, Cluster, job, simulated
from tests.network.processes import fleet
from tests.network.test_jobs import same

JOBS = {
    "a star": job(fogs=0) + '[evaluation]\nwhere = "devices"\n',
    "a tree, and the cloud too": job() + '[evaluation]\nwhere = "both"\nevery = 2\nshare = 0.4\n',
    "after some training": job() + '[evaluation]\nwhere = "devices"\nevery = 3\nfine_tune = { epochs = 2 }\n',
    "a model beside the common one": job() + '[algorithm]\nname = "ditto"\n[evaluation]\nevery = 3\n',
    "through a stage": job(cloud='downlink = ["int8"]') + '[evaluation]\nwhere = "devices"\n',
    "fogs with models of their own": job(fog="rounds = 2") + '[evaluation]\nwhere = "devices"\n',
}


def found(rows: list[Row]) -> list[dict[str, float]]:
    """What rounds' rows say of the model."""
    return [
        {
            name: value
            for name, value in row.items()
            if name in ("round", "accuracy", "loss") or name.startswith(("devices/", "at/", "common/"))
        }
        for row in rows
    ]


async def beside_simulation(made: Cluster, text: str) -> tuple[Record, Result]:
    """A job that finished with the model that a simulation of it gives; and that simulation."""
    record = await made.finish(await made.submit(text))
    assert (record.state, record.why) == ("finished", "")
    expected = simulated(text)
    assert same(made.model(record), expected.params)
    return record, expected


@pytest.mark.parametrize("name", JOBS)
def test_devices_find_what_they_find_in_a_simulation(
    name: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    text = JOBS[name]
    made = clusters[0 if "[tree.fog]" not in text else 2]

    async def work() -> None:
        record, expected = await beside_simulation(made, text)
        kept = RunFolder(made.folder / "cloud" / "runs" / record.job)
        rows = found(kept.history())
        assert len(rows) == 3
        assert rows[-1]["devices/judged"] == 4
        for row, other in zip(rows, found(expected.history), strict=True):
            assert row == pytest.approx(other, rel=1e-12)
        result = kept.load()
        assert result.devices == expected.devices
        assert result.fogs == expected.fogs
        assert result.metrics == pytest.approx(expected.metrics, rel=1e-12)

    runner.run(work())


@pytest.mark.parametrize("algorithm", ["fedavg", "ditto"])
def test_a_device_that_never_trains_judges_on_its_first_day(
    algorithm: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    """With the common model, also where the others are judged with models of their own, after some training."""
    text = job(fogs=0, task='new = "client-3"', more=f'algorithm = "{algorithm}"')
    text += '[evaluation]\nwhere = "devices"\nevery = 3\nfine_tune = { epochs = 1 }\n'
    made = clusters[0]

    async def work() -> None:
        record, expected = await beside_simulation(made, text)
        rows = RunFolder(made.folder / "cloud" / "runs" / record.job).history()
        assert (rows[-1]["devices/judged"], rows[-1]["devices"]) == (4, 3)
        new = {name: value for name, value in expected.history[-1].items() if name.startswith("new/")}
        assert set(new) == {"new/accuracy", "new/loss"}
        assert {name: rows[-1][name] for name in new} == pytest.approx(new, rel=1e-12)
        assert found(rows)[-1] == pytest.approx(found(expected.history)[-1], rel=1e-12)

    runner.run(work())


def test_queries_are_answered_by_real_nodes(runner: asyncio.Runner, clusters: dict[int, Cluster]) -> None:
    text = job(rounds=1, more='queries = ["label_counts", "moments(of=\'x\')"]')
    made = clusters[2]

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.why) == ("finished", "")
        result = RunFolder(made.folder / "cloud" / "runs" / record.job).load()
        assert result.queries == simulated(text).queries
        assert result.queries["moments(of='x')"]["count"] == 4 * 20 * 4

    runner.run(work())


def test_too_few_devices_give_no_answer_and_the_job_goes_on(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    text = job(rounds=2, fogs=0, cloud="deadline = 3", more="[tree]\nminimum = 3")
    text += '[evaluation]\nwhere = "devices"\ncohort = 2\n'
    made = clusters[0]

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.done) == ("finished", 2)
        assert "the job's minimum is 3" in " ".join(why for _, _, why in made.said(record))
        assert RunFolder(made.folder / "cloud" / "runs" / record.job).load().devices is None

    runner.run(work())


def test_what_devices_say_of_themselves_stands_in_every_row(
    runner: asyncio.Runner, clusters: dict[int, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    made = clusters[2]
    for where, publish in (("cloud", "at_least = 2\nevery = 2"), ("devices", "at_least = 2")):
        text = job(rounds=4, more='algorithm = "small:Telling"', publish=publish)
        text += f'[evaluation]\nwhere = "{where}"\nevery = 4\n'

        async def work(text: str = text, publish: str = publish) -> None:
            record = await made.finish(await made.submit(text))
            assert (record.state, record.why) == ("finished", "")
            rows, others = RunFolder(made.folder / "cloud" / "runs" / record.job).history(), simulated(text).history
            told = [row["metric/moved"] for row in rows]
            assert len(told) == 4
            assert told == pytest.approx([row["metric/moved"] for row in others], rel=1e-12)
            judged = [row["round"] for row in rows if "accuracy" in row]
            assert judged == ([2, 4] if "every" in publish else [4])
            why = [why for what, _, why in made.said(record) if what == "not published"]
            assert len(why) == len(judged)
            assert all("publish.at_least wants 2" in one for one in why)

        runner.run(work())


COMPUTATION = "fogline.network.node.participation.computing:Computation."
KILLED = {
    "a device before it judges": ("client-0", COMPUTATION + "train", 2, False),
    "a device that has judged": ("client-0", COMPUTATION + "train", 2, True),
    "a fog before it adds up": ("fog", COMPUTATION + "carry_out", 2, False),
    "a fog that has added up": ("fog", COMPUTATION + "carry_out", 2, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("point", KILLED)
def test_a_node_that_dies_while_devices_judge_loses_nothing(point: str, tmp_path: Path) -> None:
    victim, where, call, after = KILLED[point]
    all_, both = "quorum = 1.0", "quorum = 1.0\ncohort = 2"
    text = job(rounds=3, fogs=1, clients=2, cloud=all_, fog=both, more="exact = true")
    text += '[evaluation]\nwhere = "devices"\ncohort = 2\n'  # A count waits for who is away.

    async def work() -> None:
        async with fleet(tmp_path) as made:
            made.kill(victim)
            made.start(victim, call=(where, call, after))
            record = await made.submit(text)
            await made.died(victim)
            made.start(victim)
            record = await made.finish(record)
            assert (record.state, record.why) == ("finished", "")
            expected = simulated(text)
            assert same(made.model(record), expected.params)
            rows = found(RunFolder(made.folder / "cloud" / "runs" / record.job).history())
            assert rows == [pytest.approx(row, rel=1e-12) for row in found(expected.history)]

    asyncio.run(work())

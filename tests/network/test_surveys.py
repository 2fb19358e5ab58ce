"""Devices judge the model on real nodes, and find what they find in a simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fogline.jobs.reading import parse_job
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result, Row
from fogline.simulation.run import run
from tests.network.cluster import Cluster, cluster, job, within
from tests.network.small import task
from tests.network.test_jobs import same

JOBS = {
    "a star": job(fogs=0) + '[evaluation]\nwhere = "devices"\n',
    "a tree, and the cloud too": job() + '[evaluation]\nwhere = "both"\nevery = 2\nshare = 0.4\n',
    "after some training": job() + '[evaluation]\nwhere = "devices"\nevery = 3\nfine_tune = { epochs = 2 }\n',
    "fogs with models of their own": job(fog="rounds = 2") + '[evaluation]\nwhere = "devices"\n',
}


@pytest.fixture(scope="module")
def clusters(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Cluster]]:
    where = tmp_path_factory.mktemp("clusters")
    with ExitStack() as stack:
        yield {n: stack.enter_context(within(runner, cluster(where / str(n), fogs=n))) for n in (0, 2)}


def simulated(text: str) -> Result:
    described = parse_job(text)
    parameters = dict(described.task_parameters)
    return run(described.model_copy(update={"engine": "loop", "processes": 0}), task(**parameters), progress=False)


def found(rows: list[Row]) -> list[dict[str, float]]:
    """What rounds' rows say of the model."""
    return [
        {
            name: value
            for name, value in row.items()
            if name in ("round", "accuracy", "loss") or name.startswith(("devices/", "at/"))
        }
        for row in rows
    ]


@pytest.mark.parametrize("name", JOBS)
def test_devices_find_what_they_find_in_a_simulation(
    name: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    text = JOBS[name]
    made = clusters[0 if "[tree.fog]" not in text else 2]

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.why) == ("finished", "")
        assert same(made.model(record), (expected := simulated(text)).params)
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

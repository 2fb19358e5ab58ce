"""Models as differences on real nodes: the simulator's model and its bytes, also when nodes die in between."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from fogline.jobs.files.reading import parse_job
from fogline.monitoring.result import Result
from fogline.network.cloud.records import Record
from fogline.network.node.participation.arriving import log
from fogline.simulation.run import run
from tests.network.cluster import Cluster, job
from tests.network.processes import Fleet, fleet
from tests.network.small import noise
from tests.network.test_jobs import same
from tests.network.test_stages import books_of

SIZE, ROUNDS = 200_000, 5
ALL = "quorum = 1.0"
DOWN = 'downlink = ["delta(every=4)", "int4"]'


def text(cloud: str = DOWN, **settings: object) -> str:
    more = {"rounds": ROUNDS, "task": f"size = {SIZE}"} | settings
    return job(cloud=f"{ALL}\n{cloud}", **more).replace("small:task", "small:noise")  # type: ignore[arg-type]


def simulated(described: str) -> Result:
    asked = parse_job(described).model_copy(update={"engine": "loop", "processes": 0})
    return run(asked, noise(**dict(asked.task_parameters)), progress=False)


TREES = {
    "a star": (0, "", SIZE),
    "fogs that merge": (2, ALL, SIZE),
    "fogs that merge, small": (2, ALL, 30_000),  # The newest difference travels with the message.
    "fogs with models of their own": (2, f'{ALL}\nrounds = 2\ndownlink = ["delta", "eden(bits=2)"]', 30_000),
}


@pytest.mark.parametrize("tree", TREES)
def test_model_and_bytes_are_the_simulators(
    tree: str,
    runner: asyncio.Runner,
    clusters: dict[int, Cluster],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fogs, fog, size = TREES[tree]
    made, books = clusters[fogs], books_of(monkeypatch, size // 5)
    asked = text(fogs=fogs, fog=fog, task=f"size = {size}")

    async def work() -> None:
        record = await made.finish(await made.submit(asked))
        assert (record.state, record.why) == ("finished", "")
        expected = simulated(asked)
        assert same(made.model(record), expected.params)
        row = expected.history[-1]
        assert books["down"] == pytest.approx(sum(row[name] for name in row if name.startswith("down/")), rel=0.02)

    with caplog.at_level(logging.WARNING, log.name):
        runner.run(work())
    assert not [line for line in caplog.messages if "whole" in line]


async def as_without(made: Fleet, record: Record, asked: str) -> None:
    record = await made.finish(record)
    lines = [(line.what, line.child, line.why) for line in await made.lines(record)]
    assert (record.state, record.why) == ("finished", "")
    assert same(made.model(record), simulated(asked).params), lines


@pytest.mark.slow
def test_fog_and_device_die_in_between_and_have_their_parents_idea_again(tmp_path: Path) -> None:
    fog = f'{ALL}\ncohort = 2\nrounds = 2\ndownlink = ["delta", "eden(bits=2)"]'
    asked = text(fogs=1, clients=2, rounds=6, cloud='downlink = ["delta", "int4"]', fog=fog)

    async def work() -> None:
        async with fleet(tmp_path) as made:
            record = await made.submit(asked)
            for done, names in ((1, ["client-0"]), (2, ["fog"]), (3, ["fog", "client-1"]), (4, ["cloud"])):
                await made.rounds(record, done)
                for name in names:
                    made.kill(name)
                for name in names:
                    made.start(name)
            await as_without(made, record, asked)
            for name in ("fog", "client-0", "client-1"):
                assert "another model than its parent meant" not in made.log(name)

    asyncio.run(work())

"""Low-rank adapters over real sockets: the simulator's bits; the base travels once, and rounds carry the adapters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fogline.jobs.files.reading import parse_job
from fogline.monitoring.result import Result
from fogline.params import frozen_of, to_bytes
from fogline.simulation.run import run
from tests.network.cluster import Cluster, job
from tests.network.small import adapted
from tests.network.test_jobs import same
from tests.network.test_stages import books_of

CLIENTS, ROUNDS = 4, 3
SHARES = '\n[shares.devices]\n"client-0" = 0.25\n"*" = 1.0\n'


def text(fogs: int, method: str, more: str = "") -> str:
    described = job(rounds=ROUNDS, fogs=fogs, clients=CLIENTS, publish="", more=f'algorithm = "{method}"')
    return described.replace("small:task", "small:adapted") + more


def simulated(described: str) -> Result:
    asked = parse_job(described).model_copy(update={"engine": "loop", "processes": 0})
    return run(asked, adapted(CLIENTS), progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "more"), [("hetlora", SHARES), ("fedexlora", "")])
def test_below_fogs_a_job_gives_the_simulators_bits(
    method: str, more: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made, asked = clusters[2], text(2, method, more)

    async def work() -> Any:
        record = await made.finish(await made.submit(asked))
        assert (record.state, record.why) == ("finished", "")
        return made.model(record)

    assert same(runner.run(work()), simulated(asked).params)


def test_the_books_have_the_base_once_and_the_adapters_in_every_round(
    runner: asyncio.Runner, clusters: dict[int, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    books, made, asked = books_of(monkeypatch, least=14_000), clusters[0], text(0, "fedit")

    async def work() -> None:
        record = await made.finish(await made.submit(asked))
        assert (record.state, record.why) == ("finished", "")

    runner.run(work())
    base = frozen_of(adapted(CLIENTS).initial(0))
    assert base is not None
    once, each = len(to_bytes(base)), 4 * 4096
    assert books["down"] == pytest.approx(CLIENTS * (once + ROUNDS * each), rel=0.01)
    assert books["up"] == pytest.approx(CLIENTS * ROUNDS * each, rel=0.05)

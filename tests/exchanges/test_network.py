"""An exchange on real nodes, over mutual TLS: the model is that of a simulation, to the bit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.network.cluster import cluster, job
from tests.network.test_jobs import same, simulated

EXCHANGE = 'exchange = "tests.exchanges.commit_reveal:CommitReveal"'
LIAR = f'{EXCHANGE}\nexchange_parameters = {{ liar = "client-1" }}'


@pytest.mark.parametrize("fogs", [0, 1])
def test_a_job_with_an_exchange_gives_the_model_of_a_simulation(fogs: int, tmp_path: Path) -> None:
    tiers = {"fog": f"quorum = 1.0\n{EXCHANGE}"} if fogs else {"cloud": f"quorum = 1.0\n{EXCHANGE}"}
    text = job(rounds=2, fogs=fogs, clients=3, **tiers)

    async def work() -> None:
        async with cluster(tmp_path, fogs=fogs, devices=3) as made:
            record = await made.finish(await made.submit(text))
            assert (record.state, record.why) == ("finished", ""), made.said(record)
            assert same(made.model(record), simulated(text).params), made.said(record)

    asyncio.run(work())


def test_a_result_that_the_jobs_fold_cannot_take_ends_the_job(tmp_path: Path) -> None:
    text = job(rounds=3, fogs=1, clients=2, more="exact = true", fog=f"quorum = 1.0\n{EXCHANGE}")

    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=2) as made:
            record = await made.finish(await made.submit(text))
            assert (record.state, record.done) == ("failed", 0)
            assert record.why.startswith("fog: the job's own code is wrong; why stands in its own log alone"), (
                record.why
            )
            own = (tmp_path / "fog" / "logs" / f"{record.job}.log").read_text()
            assert "CommitReveal.result gives what this job cannot fold: " in own, own

    asyncio.run(work())

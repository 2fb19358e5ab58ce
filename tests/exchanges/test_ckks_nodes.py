"""Homomorphic encryption on real nodes: the model is the plain mean's, also where a device and its fog are killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fogline[he]'")

from tests.exchanges.test_secagg_nodes import close, is_as_without, text
from tests.network.cluster import cluster
from tests.network.processes import fleet
from tests.network.test_jobs import simulated


def test_a_job_under_encryption_gives_the_model_without(tmp_path: Path) -> None:
    job = text('exchange = "ckks_selective(weight=100.0, share=0.5)"', fogs=0)

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=3) as made:
            record = await made.finish(await made.submit(job))
            assert (record.state, record.why) == ("finished", ""), made.said(record)
            assert close(made.model(record), simulated(text("", 0)).params), made.said(record)

    asyncio.run(work())


@pytest.mark.slow
def test_nodes_that_die_in_the_middle_change_nothing(tmp_path: Path) -> None:
    """A device dies with its update encrypted and not yet sent, its fog with the sum made and not yet told."""

    async def work() -> None:
        async with fleet(tmp_path, devices=3) as made:
            for victim, count, record in (("client-0", 3, "Stepped"), ("fog", 3, "Advanced")):
                made.kill(victim)
                made.start(victim, commit=(count, True, [record]))
            submitted = await made.submit(text('exchange = "ckks(weight=100.0)"'))
            for victim in ("client-0", "fog"):
                await made.died(victim)
                made.start(victim)
            await is_as_without(made, await made.finish(submitted), text(""))

    asyncio.run(work())

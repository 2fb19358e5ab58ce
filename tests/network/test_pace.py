"""``kill -9`` of an aggregator that learns how long its devices take, and remembers what each sent last."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.network.node.driver import ENTRIES
from fogline.nodes.records import Accepted, Asked
from fogline.storage import open_database
from tests.network.cluster import job
from tests.network.processes import fleet

LEARNS = 'policy = "timelyfl"\npolicy_parameters = { least = 0.3 }\ndeadline = "auto"'
ROUNDS = 12


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["cloud", "fog"])
def test_it_goes_on_with_what_it_knew(victim: str, tmp_path: Path) -> None:
    fogs = 1 if victim == "fog" else 0
    tiers = {victim: LEARNS}
    text = job(ROUNDS, fogs, 2, task="slow = 0.1", more='algorithm = "ca2fl"', **tiers)

    async def work() -> None:
        async with fleet(tmp_path, fogs=fogs) as made:
            record = await made.submit(text)
            for done in (3, 6):
                await made.rounds(record, done)
                made.kill(victim)
                made.start(victim)
            record = await made.finish(record)
            assert (record.state, record.why, record.done) == ("finished", "", ROUNDS)
            if victim == "cloud":
                (path,) = (tmp_path / "cloud").rglob("records.sqlite")
                journal = [ENTRIES.decode(entry) for entry in open_database(path).read(record.job)]
                asked = [effort for entry in journal if isinstance(entry, Asked) for effort in entry.efforts]
                tasks = [entry.task for entry in journal if isinstance(entry, Accepted)]
                assert all(entry.training for entry in journal if isinstance(entry, Accepted))
                assert set(asked[:2]) == {0.3}  # Nobody is known yet.
                assert 0.3 not in asked[-4:]
                assert len(tasks) == len(set(tasks)) >= ROUNDS

    asyncio.run(work())

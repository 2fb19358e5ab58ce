"""``kill -9`` of an aggregator that learns how long its devices take, and remembers what each sent last."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.network.node.participation.replay import ENTRIES
from fogline.nodes.records import Accepted, Asked
from fogline.storage import open_database
from tests.network.cluster import job
from tests.network.processes import fleet

LEARNS = 'policy = "timelyfl"\npolicy_parameters = { least = 0.3 }\ndeadline = "auto"'
ROUNDS = 12


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["cloud", "fog"])
def test_it_goes_on_with_what_it_knew_of_times(victim: str, tmp_path: Path) -> None:
    entries = _run(victim, tmp_path, more="", tiers={victim: LEARNS})
    if victim == "cloud":
        asked = [effort for entry in entries if isinstance(entry, Asked) for effort in entry.efforts]
        assert all(entry.training for entry in entries if isinstance(entry, Accepted))
        assert set(asked[:2]) == {0.3}  # Nobody is known yet.
        assert 0.3 not in asked[-4:]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["cloud", "fog"])
def test_it_goes_on_with_what_it_knew_of_updates(victim: str, tmp_path: Path) -> None:
    entries = _run(victim, tmp_path, more='algorithm = "ca2fl"', tiers={})
    tasks = [entry.task for entry in entries if isinstance(entry, Accepted)]
    assert len(tasks) == len(set(tasks)) >= ROUNDS


def _run(victim: str, folder: Path, more: str, tiers: dict[str, str]) -> list[object]:
    """What the cloud wrote down of a job during which an aggregator was killed twice."""
    fogs = 1 if victim == "fog" else 0
    text = job(ROUNDS, fogs, 2, task="slow = 0.1", more=more, **tiers)

    async def work() -> str:
        async with fleet(folder, fogs=fogs) as made:
            record = await made.submit(text)
            for done in (3, 6):
                await made.rounds(record, done)
                made.kill(victim)
                made.start(victim)
            record = await made.finish(record)
            # Where deadlines are learned, a machine that slows down at once may cost a round; the next waits longer.
            assert record.state == "finished"
            assert (record.why, record.done) == ("", ROUNDS) or LEARNS in text
            return record.job

    name = asyncio.run(work())
    (path,) = (folder / "cloud").rglob("records.sqlite")
    return [ENTRIES.decode(entry) for entry in open_database(path).read(name)]

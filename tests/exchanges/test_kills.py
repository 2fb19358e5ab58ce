"""``kill -9`` of child and parent at every record of an exchange, on real processes over mutual TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import pytest

from fogline.network.node.participation.replay import Under
from fogline.nodes.records import Record
from tests.network import test_kills as plain
from tests.network import test_quarantine as quarantine
from tests.network.cluster import job
from tests.network.processes import fleet
from tests.network.test_kills import as_without

pytestmark = pytest.mark.slow
EXCHANGE = 'exchange = "tests.exchanges.commit_reveal:CommitReveal"'
TEXT = job(rounds=2, fogs=1, clients=2, cloud="quorum = 1.0", fog=f"quorum = 1.0\ncohort = 2\n{EXCHANGE}")
BEFORE, AFTER = False, True
RECORDS = [
    ("client-0", "Entered", AFTER),
    ("client-0", "Stepped", BEFORE),
    ("client-0", "Stepped", AFTER),
    ("client-0", "Posted", BEFORE),
    ("fog", "StepTaken", AFTER),
    ("fog", "Advanced", BEFORE),
    ("fog", "Advanced", AFTER),
    ("fog", "Closed", BEFORE),
]


@pytest.mark.parametrize(("victim", "record", "after"), RECORDS)
def test_a_node_that_dies_at_a_record_changes_nothing(victim: str, record: str, after: bool, tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            made.kill(victim)
            made.start(victim, commit=(2, after, [record]))
            submitted = await made.submit(TEXT)
            await made.died(victim)
            made.start(victim)
            await as_without(made, await made.finish(submitted), TEXT)

    asyncio.run(work())


def test_with_every_value_beside_the_messages(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            for name in list(made.running):
                made.kill(name)
                made.start(name, **({"commit": (2, True, ["Advanced"])} if name == "fog" else {}), blobs=True)
            submitted = await made.submit(TEXT)
            await made.died("fog")
            made.start("fog", blobs=True)
            await as_without(made, await made.finish(submitted), TEXT)

    asyncio.run(work())


def test_a_child_that_does_not_come_back_is_out_and_the_others_go_on(tmp_path: Path) -> None:
    text = job(rounds=2, fogs=1, clients=3, cloud="quorum = 1.0", fog=f'quorum = 2\ndeadline = "20s"\n{EXCHANGE}')

    async def work() -> None:
        async with fleet(tmp_path, devices=3) as made:
            made.kill("client-0")
            made.start("client-0", commit=(1, True, ["Stepped"]))
            submitted = await made.submit(text)
            await made.died("client-0")
            record = await made.finish(submitted)
            assert (record.state, record.why) == ("finished", "")
            rows = [line.row for line in await made.lines(submitted) if line.row is not None]
            assert [row["devices"] for row in rows] == [2.0, 2.0]

    asyncio.run(work())


def test_a_node_dies_at_every_kind_of_record_somewhere() -> None:
    tried = {kind for kinds in plain.RECORDS.values() for kind in kinds} | {kind for _, kind, _ in RECORDS}
    assert tried | plain.UNUSABLE.keys() | {*quarantine.RECORDS} == {kind.__name__ for kind in get_args(Record | Under)}

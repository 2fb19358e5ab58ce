"""Quarantine on real nodes: as in simulation to the bit, also when the cloud is killed again and again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.monitoring.run_files import load_run
from tests.network.cluster import HERE, Cluster, job
from tests.network.processes import fleet
from tests.network.test_jobs import same, simulated
from tests.network.test_kills import killed_until_done

TEXT = job(
    rounds=6,
    fogs=0,
    cloud='rule = "trimmed_mean(0.25)"\nquorum = 1.0\nquarantine = { memory = 0.5, rounds = 2 }',
    task="poisoned = 1",
)


def cut_off(folder: Path, name: str) -> dict[str, str]:
    return load_run(folder / "cloud" / "runs" / name).cut_off


def test_who_poisons_is_cut_off_and_the_report_says_so(
    runner: asyncio.Runner, clusters: dict[int, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    expected, made = simulated(TEXT), clusters[0]

    async def work() -> None:
        record = await made.finish(await made.submit(TEXT))
        assert (record.state, record.why) == ("finished", "")
        assert same(made.model(record), expected.params)
        assert ("quarantined", "client-1", expected.cut_off["client-1"]) in made.said(record)
        found = load_run(made.folder / "cloud" / "runs" / record.job)
        assert found.cut_off == expected.cut_off
        assert found.cut_off.keys() == {"client-1"}
        assert [row["devices"] for row in found.history] == [4, 4, 4, 3, 3, 4]

    runner.run(work())


def test_an_attack_is_refused_where_nodes_are_real(runner: asyncio.Runner, clusters: dict[int, Cluster]) -> None:
    made = clusters[0]

    async def work() -> None:
        text = job(fogs=0, more='attack = { name = "alie" }')
        record = await made.finish(await made.submit(text))
        assert record.state == "failed"
        assert "attack is for simulations, and this job is for real nodes" in record.why

    runner.run(work())


@pytest.mark.slow
def test_a_cloud_that_dies_at_every_commit_forgets_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)

    async def work() -> None:
        async with fleet(tmp_path, fogs=0, devices=4) as made:
            await killed_until_done(made, "cloud", True, TEXT)

    asyncio.run(work())
    (run,) = (tmp_path / "cloud" / "runs").iterdir()
    assert load_run(run).cut_off.keys() == {"client-1"}

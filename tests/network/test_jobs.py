"""Jobs over a cloud, fogs and devices, over real sockets and worker processes."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fogline.cli.commands.jobs.watch import conclude
from fogline.cli.failures import RoundsLostError
from fogline.jobs import Tier, Tree
from fogline.jobs.files.reading import parse_job
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.run_files import load_run
from fogline.network.cloud import scheduler
from fogline.network.cloud.records import Record
from fogline.network.node.participation.replay import ENTRIES
from fogline.network.node.process import Listening
from fogline.network.transport.messages import ParentAddress
from fogline.network.worker.client import WorkerClient
from fogline.network.worker.discretion import REQUEST, STEP, TRAINING
from fogline.nodes.policies.rotation import turn_of
from fogline.nodes.records import Accepted
from fogline.params import Params
from fogline.simulation.run import run
from tests.network.cluster import HERE, Cluster, cluster, job, simulated
from tests.network.small import Farthest, task

SAME = {
    "star": job(fogs=0),
    "tree": job(),
    "exact fold": job(more="exact = true"),
    "cohort below the population": job(rounds=4, fogs=0, cloud="cohort = 2"),
    "several rounds, device state": job(fog="rounds = 2", more='algorithm = "scaffold"'),
    "a rule at the root": job(fogs=0, cloud='rule = "median"'),
    "rules in a tree": job(cloud='rule = "meamed(f=0)"', fog='rule = "median"'),
    "a rule on distances": job(fogs=0, cloud='rule = "krum(f=0)"'),
    "rules one after the other": job(fogs=0, cloud='rule = ["bucketing(1)", "nnm(f=1)", "dnc(f=1)"]'),
    "a rule with noise": job(fogs=0, cloud='rule = "flame(noise=0.1)"'),
    "a rule that trusts a child": job(fogs=0, cloud="rule = \"fltrust(root='client-2')\""),
    "rules on distances in a tree": job(
        cloud='rule = "geometric_median"', fog='rule = ["norm_bound(1.0)", "median"]', more='algorithm = "scaffold"'
    ),
    "group state": job(fog="rounds = 2", more='algorithm = "mtgc"'),
    "stages": job(
        fogs=0, cloud='uplink = ["clip(norm=0.05)", "int8(feedback=true)"]\ndownlink = ["int8"]', more="exact = true"
    ),
    "a stage of the developer's own": job(fogs=0, cloud='uplink = ["small:Sign"]'),
    "stages over fogs that merge": job(cloud='uplink = ["bf16"]\ndownlink = ["fp16"]', fog='uplink = ["drive"]'),
    "linear stages over fogs that merge": job(
        cloud='uplink = ["random_k(share=0.3)"]', fog='uplink = ["random_k(share=0.3)"]'
    ),
    "stages over fogs that move": job(
        cloud='uplink = ["qsgd(levels=100)"]\ndownlink = ["int8"]',
        fog='rounds = 2\nuplink = ["top_k(share=0.2)"]\ndownlink = ["eden"]',
        more='algorithm = "scaffold"',
    ),
}


def same(one: Params, other: Params) -> bool:
    return np.array_equal(one.vector, other.vector) and np.array_equal(one.counters, other.counters)


@pytest.mark.parametrize("name", SAME)
def test_a_job_gives_the_simulators_model_to_the_bit(
    name: str, runner: asyncio.Runner, clusters: dict[int, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    text = SAME[name]
    made = clusters[0 if "[tree.fog]" not in text else 2]

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.why) == ("finished", "")
        assert same(made.model(record), simulated(text).params)

    runner.run(work())


def test_an_asynchronous_job_ends_and_every_update_counts_once(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[0]

    async def work() -> None:
        text = job(rounds=6, fogs=0, cloud='mode = "async"\nbuffer = 2', more='algorithm = "fedbuff"')
        record = await made.finish(await made.submit(text))
        assert (record.state, record.done) == ("finished", 6)
        rows = [line.row for _, line in made.cloud.scheduler.job_store.lines(record.job) if line.row is not None]  # type: ignore[union-attr]
        journal = [ENTRIES.decode(entry) for entry in made.cloud.node.database.read(record.job)]
        tasks = [entry.task for entry in journal if isinstance(entry, Accepted)]
        assert len(tasks) == len(set(tasks))
        assert sum(row["updates"] for row in rows) <= len(tasks) <= sum(row["updates"] for row in rows) + 1

    runner.run(work())


def test_two_jobs_run_at_the_same_time(runner: asyncio.Runner, clusters: dict[int, Cluster]) -> None:
    made = clusters[2]

    async def work() -> None:
        texts = [job(rounds=3, more="seed = 1"), job(rounds=3, more="seed = 2")]
        records = [await made.submit(text, priority=i) for i, text in enumerate(texts)]
        ends = [await made.finish(record) for record in records]
        assert [record.state for record in ends] == ["finished", "finished"]
        assert all(
            same(made.model(record), simulated(text).params) for record, text in zip(records, texts, strict=True)
        )

    runner.run(work())


def test_a_device_that_fails_is_counted_and_the_round_goes_on(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[2]

    async def work() -> None:
        record = await made.finish(await made.submit(job(rounds=2, task="broken = 1\nblind = 2")))
        assert (record.state, record.done) == ("finished", 2)
        said = made.said(record)
        assert ("failed", "client-1", "RuntimeError: the sensor is unplugged") in said
        assert any(what == "failed" and who == "client-2" and "not finite" in why for what, who, why in said)

    runner.run(work())


@pytest.mark.parametrize(
    ("task", "kinds"),
    [("broken = 1\npoisoned = 3", {"client-1": REQUEST, "client-3": STEP}), ("blind = 2", {"client-2": TRAINING})],
)
def test_why_a_device_fails_stays_there_where_the_job_protects_its_data(
    task: str, kinds: dict[str, str], runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    """Neither what code raises, nor that a loss is no number, nor how large a number is."""
    made = clusters[0]
    masked = 'exchange = "secagg(minimum=2, threshold=0.5)"\nquorum = 2'
    text = job(rounds=1, fogs=0, cloud=masked, task=task)

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.done) == ("finished", 1)
        failed = {who: why for what, who, why in made.said(record) if what == "failed"}
        assert failed == kinds

    runner.run(work())


def test_an_update_that_no_fold_can_take_counts_for_no_quorum(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[0]

    async def work(quorum: int) -> Record:
        text = job(rounds=2, fogs=0, cloud=f'quorum = {quorum}\ndeadline = "60s"', task="huge = 1")
        return await made.finish(await made.submit(text))

    record = runner.run(work(4))
    assert record.state == "failed"
    assert "No round of 2 counted" in record.why
    assert "3 reports, the quorum is 4" in record.why
    record = runner.run(work(3))
    assert (record.state, record.done) == ("finished", 2)
    said = made.said(record)
    assert any((what, who) == ("failed", "client-1") and "the fold overflows" in why for what, who, why in said)
    assert np.isfinite(made.model(record).vector).all()


def test_one_poisoned_device_moves_the_mean_and_not_the_median(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[0]

    async def work(rule: str, more: str = "") -> Params:
        text = job(rounds=2, fogs=0, cloud=f'rule = "{rule}"', task=more)
        record = await made.finish(await made.submit(text))
        assert (record.state, record.why) == ("finished", "")
        return made.model(record)

    honest = runner.run(work("mean")).vector
    poisoned = {rule: runner.run(work(rule, "poisoned = 1")).vector for rule in ("mean", "median", "krum(f=0)")}
    assert np.abs(poisoned["mean"] - honest).min() > 100
    assert np.abs(poisoned["median"] - honest).max() < 1
    assert np.abs(poisoned["krum(f=0)"] - honest).max() < 1


def test_a_rule_of_ones_own_travels_with_the_job(runner: asyncio.Runner, clusters: dict[int, Cluster]) -> None:
    made, own = clusters[2], "small:Farthest(by=4.0)"

    async def work() -> None:
        record = await made.finish(await made.submit(job(cloud=f'rule = "{own}"', fog='rule = "small:Farthest"')))
        assert (record.state, record.why) == ("finished", "")
        tree = Tree(cloud=Tier(rule=Farthest(4.0)), fog=Tier(count=2, rule=Farthest()))
        plain = parse_job(job()).model_copy(update={"engine": "loop", "processes": 0, "tree": tree})
        assert same(made.model(record), run(plain, task(**plain.task_parameters), progress=False).params)

    runner.run(work())


def test_a_rule_that_does_not_fit_its_tree_ends_the_job_before_it_begins(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[2]

    async def work() -> None:
        record = await made.finish(await made.submit(job(cloud='rule = "median"')))
        assert (record.state, record.done) == ("failed", 0)
        assert "cloud.rule needs the update of each child, but tier fog sends sums of its children's" in record.why

    runner.run(work())


@pytest.mark.parametrize(
    ("hook", "at", "error"),
    [("Receives.receive", "fog-", "KeyError"), ("Moves.server_update", "", "MissingTermError")],
)
def test_a_wrong_hook_of_an_aggregator_ends_the_job_with_the_reason(
    hook: str, at: str, error: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[2]
    text = job(
        rounds=3, cloud='deadline = "10min"', fog="rounds = 2", more=f'algorithm = "small:{hook.partition(".")[0]}"'
    )

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert record.state == "failed"
        assert record.why.startswith(at)
        assert f"{hook} raised {error}: " in record.why
        assert "small.py, line " in record.why

    runner.run(work())


@pytest.mark.parametrize(
    ("fog", "more", "words"),
    [
        ('rule = "small:Wrong"', "", "the rule Wrong gives 'buffers' with 4 of 4 numbers that are not finite"),
        ("rule = \"small:Wrong(how='exit')\"", "", "the rule Wrong raised SystemExit: enough"),
        ("rounds = 2", 'algorithm = "small:Reports"', "Reports.group_update gives a ndarray as 'delta'"),
        ("rounds = 2", 'algorithm = "small:Inside"', "Inside.inner_update raised SystemExit: 3"),
    ],
)
def test_what_is_wrong_where_only_a_fog_comes_ends_the_job_at_once(
    fog: str, more: str, words: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[2]
    rule = 'rule = "median"\n' if "rule" in fog else ""
    text = job(rounds=3, cloud=f'{rule}deadline = "10min"', fog=fog, more=more)

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.done) == ("failed", 0)
        assert re.match(rf"fog-\d(, round 1)?: {re.escape(words)}", record.why), record.why

    runner.run(work())


def test_a_job_that_is_stopped_keeps_what_it_has_learned(runner: asyncio.Runner, clusters: dict[int, Cluster]) -> None:
    made = clusters[2]

    async def work() -> None:
        record = await made.submit(job(rounds=500))
        await made.until(record, "round")
        await made.client.stop(record.job)
        record = await made.finish(record)
        assert record.state == "stopped"
        assert 1 <= record.done < 500
        assert np.abs(made.model(record).vector).max() > 0

    runner.run(work())


def test_a_job_that_nobody_has_loaded_says_so_and_is_stopped_at_once(
    runner: asyncio.Runner, clusters: dict[int, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that never comes to an end of loading: at the cloud, or at all nodes."""
    made = clusters[0]

    async def never(*_: object) -> Any:
        await asyncio.Event().wait()

    async def work(what: str, why: str) -> None:
        record = await made.submit(job(fogs=0))
        assert (await made.until(record, what)).level == logging.INFO
        (record,) = await made.client.jobs(record.job)
        assert (record.state, record.why) == ("running", why)
        await made.client.stop(record.job)
        assert (await made.finish(record)).state == "stopped"

    with monkeypatch.context() as patched:
        patched.setattr(scheduler, "prepare", never)
        runner.run(work("loading", "the cloud loads it"))
    monkeypatch.setattr(WorkerClient, "open", never)
    runner.run(work("began", "0 of 4 devices have loaded it"))


def test_a_job_of_which_rounds_came_to_nothing_says_so(runner: asyncio.Runner, clusters: dict[int, Cluster]) -> None:
    """In two of three rounds no child, or too few of them, have their turn."""
    made = clusters[0]
    turns = [turn_of(f"client-{i}", 3) for i in range(4)]
    counted = [i for i in range(5) if turns.count(i % 3) >= 3]
    assert 0 < len(counted) < 5

    async def work() -> None:
        rotation = 'policy = "rotation"\npolicy_parameters = { period = 3 }\nquorum = 3\ndeadline = 0.2'
        record = await made.finish(await made.submit(job(rounds=5, fogs=0, cloud=rotation)))
        assert (record.state, record.lost) == ("finished", 5 - len(counted))
        assert record.why.startswith(f"{record.lost} of 5 rounds came to nothing (")
        result = load_run(made.folder / "cloud" / "runs" / record.job)
        assert result.lost_rounds == record.lost
        with pytest.raises(RoundsLostError, match="finished, but"):
            conclude(record)

    runner.run(work())


def test_a_job_stops_at_its_target_with_the_simulators_model(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[0]
    text = job(rounds=200, fogs=0) + "[evaluation]\ntarget = 0.5\nstop_at_target = true\n"

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert record.state == "finished"
        assert record.done < 200
        assert same(made.model(record), simulated(text).params)

    runner.run(work())


def test_a_job_with_more_tiers_than_the_network_ends_and_says_who_is_missing(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[0]

    async def work() -> None:
        record = await made.finish(await made.submit(job(rounds=1), wait=0.5))
        assert record.state == "finished"
        assert ("missing", "cloud", "fog-0, fog-1 did not come in time") in made.said(record)

    runner.run(work())


def test_a_job_with_fewer_tiers_than_the_network_says_why_nobody_takes_part(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[2]

    async def work() -> None:
        record = await made.submit(job(rounds=1, fogs=0), wait=0.5)
        line = await made.until(record, "away")
        assert "1 tiers of aggregators" in line.why
        await made.client.stop(record.job)
        assert (await made.finish(record)).state == "stopped"
        assert RunFolder(made.folder / "cloud" / "runs" / record.job).read_info()["status"] == "interrupted"

    runner.run(work())


def test_jobs_wait_in_a_queue_by_priority(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2, parallel=1) as made:
            text = job(rounds=3, fogs=0, clients=2, task="slow = 0.1")
            first, low, high = [await made.submit(text, priority=priority) for priority in (0, 0, 5)]
            states = [record.state for record in await made.client.jobs()]
            assert states == ["running", "queued", "queued"]
            await made.client.stop(low.job)
            for record, state in ((high, "finished"), (first, "finished"), (low, "stopped")):
                assert (await made.finish(record)).state == state
            began = [made.cloud.node.database.notes(f"job/{record.job}")[0][1] for record in (first, high)]
            times = [msgspec.msgpack.decode(note)["at"] for note in began]
            assert times[0] < times[1]

    asyncio.run(work())


def test_devices_come_late_leave_and_are_counted(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            text = job(rounds=400, fogs=0, clients=3, cloud="quorum = 1", task="slow = 0.05")
            record = await made.submit(text, wait=0.2)
            await made.until(record, "missing")
            await made.until(record, "round")
            await made.join("client-2", "device")
            await made.start("client-2", [made.parent_address])
            async for line in made.client.watch(record.job):
                if line.row is not None and line.row["updates"] == 3:
                    break
            await made.stop("client-0")
            async for line in made.client.watch(record.job):
                if line.row is not None and line.row["round"] > 5 and line.row["updates"] == 2:
                    break
            await made.client.stop(record.job)
            record = await made.finish(record)
            assert record.state == "stopped"
            assert any(what == "left" and who == "client-0" for what, who, _ in made.said(record))

    asyncio.run(work())


@pytest.mark.slow
def test_devices_whose_fog_ends_go_to_another_and_the_job_finishes(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path) as made:
            record = await made.submit(job(rounds=60, task="slow = 0.1"))
            await made.until(record, "round")
            await made.stop("fog-1")
            record = await made.finish(record)
            assert (record.state, record.done) == ("finished", 60)
            parents = {known.name: known.parent for known in await made.client.nodes() if known.role == "device"}
            assert set(parents.values()) == {"fog-0"}
            rows = [line.row for _, line in made.cloud.scheduler.job_store.lines(record.job) if line.row is not None]  # type: ignore[union-attr]
            assert rows[-1]["updates"] == 1

    asyncio.run(work())


def test_a_fog_that_comes_back_below_the_same_parent_goes_on(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=2) as made:
            text = job(rounds=8, fogs=1, clients=2, cloud="quorum = 1.0", fog="quorum = 1.0", more="exact = true")
            record = await made.submit(text.replace("clients = 2", "clients = 2\nslow = 0.1"))
            await made.until(record, "round")
            address = made.members["fog"].address
            await made.stop("fog")
            await made.start("fog", [made.parent_address], Listening(address, "127.0.0.1:0"))
            record = await made.finish(record)
            assert record.state == "finished"
            assert same(made.model(record), simulated(text).params)

    asyncio.run(work())


def test_parent_addresses_are_parsed() -> None:
    assert ParentAddress.parse("10.0.0.1:7443") == ParentAddress("cloud", "10.0.0.1:7443")
    assert ParentAddress.parse("fog-1@10.0.0.1:7443") == ParentAddress("fog-1", "10.0.0.1:7443")


QUARANTINE = job(
    rounds=6,
    fogs=0,
    cloud='rule = "trimmed_mean(0.25)"\nquorum = 1.0\nquarantine = { memory = 0.5, rounds = 2 }',
    task="poisoned = 1",
)
"""One of four devices moves far away."""


def test_who_poisons_is_cut_off_and_the_report_says_so(
    runner: asyncio.Runner, clusters: dict[int, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    expected, made = simulated(QUARANTINE), clusters[0]

    async def work() -> None:
        record = await made.finish(await made.submit(QUARANTINE))
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

"""``kill -9`` of every kind of node at every stage of a round: the model is the one of a run without kills, to the bit.

All devices report in every round (``quorum = 1.0``), and folds are exact, so that neither the order in which nodes
come back nor what they do again may show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from fogline.monitoring.folder import RunFolder
from fogline.network.cloud.records import Record
from tests.network.audited import check_audit_logs
from tests.network.cluster import job
from tests.network.processes import Fleet, fleet, wait_for
from tests.network.test_jobs import same, simulated

pytestmark = pytest.mark.slow
ALL = "quorum = 1.0"
BOTH = f"{ALL}\ncohort = 2"
"""A count is never cut: a fog that was away waits for both devices."""
ROUNDS = 6
TEXT = job(rounds=ROUNDS, fogs=1, clients=2, cloud=ALL, fog=BOTH, more="exact = true")
MOVING = job(
    rounds=3, fogs=1, clients=2, cloud=ALL, fog=BOTH + "\nrounds = 2", more='exact = true\nalgorithm = "scaffold"'
)
STAGED = job(
    rounds=ROUNDS,
    fogs=1,
    clients=2,
    cloud=f'{ALL}\nuplink = ["powersgd(rank=1)"]\ndownlink = ["eden"]',
    fog=f'{BOTH}\nuplink = ["clip(norm=0.1)", "stc(share=0.1)"]',
)
"""Device and fog remember what the code of their last message took, and the fog the factors that it goes on from."""

REMEMBERING = {
    "what a device has told": (
        "client-0",
        job(
            rounds=4,
            fogs=1,
            clients=2,
            cloud=ALL,
            fog=BOTH + "\nuplink = [\"ef21('top_k(share=0.2)')\"]",
            more='exact = true\nalgorithm = "ef21"',
        ),
    ),
    "sketches at the root": (
        "cloud",
        job(rounds=4, fogs=1, clients=2, cloud=ALL, fog=BOTH, more='exact = true\nalgorithm = "fetchsgd"'),
    ),
    "what a rule made last": (
        "fog",
        job(
            rounds=4,
            fogs=1,
            clients=2,
            cloud=f'{ALL}\nrule = "centered_clipping(0.1)"',
            fog=f'{BOTH}\nrule = "centered_clipping(0.1, iterations=2)"',
        ),
    ),
    "a fog that adds codes": (
        "fog",
        job(
            rounds=4,
            fogs=1,
            clients=2,
            cloud=f'{ALL}\nuplink = ["random_k(share=0.3)"]',
            fog=f'{BOTH}\nuplink = ["random_k(share=0.3)"]',
        ),
    ),
}
"""Who dies at every commit, and what of."""

POINTS = {
    "asked, not yet training": ("client-0", "fogline.network.node.participation.computing:Computation.train", False),
    "trained, not yet recorded": ("client-0", "fogline.network.node.participation.computing:Computation.train", True),
    "before its update is on its way": ("client-0", "fogline.network.transport.uplink:Uplink.push", False),
    "when its update is there, before it is reported": (
        "client-0",
        "fogline.network.transport.uplink:Uplink.push",
        True,
    ),
    "before the fog folds": ("fog", "fogline.network.node.participation.computing:Computation.carry_out", False),
    "when the fog has folded": ("fog", "fogline.network.node.participation.computing:Computation.carry_out", True),
    "before the fog's result is on its way": ("fog", "fogline.network.transport.uplink:Uplink.push", False),
    "when the fog's result is there": ("fog", "fogline.network.transport.uplink:Uplink.push", True),
    "before the cloud folds": ("cloud", "fogline.network.node.participation.computing:Computation.carry_out", False),
    "when the cloud has folded": ("cloud", "fogline.network.node.participation.computing:Computation.carry_out", True),
}


RECORDS = {
    "cloud": ("Under", "Assigned", "Asked", "Accepted", "Closed", "JobOver"),
    "fog": ("Under", "Assigned", "Asked", "Accepted", "Closed", "Posted", "Confirmed"),
    "client-0": ("Under", "Assigned", "Posted", "Confirmed"),
}
"""What each writes into its journal where nothing goes wrong; of exchanges: tests/exchanges/test_kills.py."""

UNUSABLE = {"Resolved": "blind = 1", "Spoiled": "huge = 1"}
"""What a fog writes when an update turns out to be none, and what a device has to do for it."""


async def killed_until_done(made: Fleet, victim: str, after: bool, text: str, kinds: Sequence[str] = ("",)) -> None:
    """A node dies at its first commit, then at its second one after the restart, and so on.

    Of a device, only where it is in a round: one that dies between two rounds is not there when the next one begins,
    which is no fault. ``kinds``: of another node, at commits with these records only; else at any.
    """
    device = victim.startswith("client")
    kinds = ["Assigned", "Posted"] if device else list(kinds)
    if device:
        made.kill(victim)
        made.start(victim, commit=(1, after, kinds))
    record = await made.submit(text)
    if not device:
        await made.rounds(record, 1)
        made.kill(victim)
        made.start(victim, commit=(1, after, kinds))
    for n in range(2, 8):
        dead = asyncio.create_task(made.died(victim))
        ended = asyncio.create_task(made.finish(record))
        await asyncio.wait((dead, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        dead.cancel()
        if victim in made.running:
            break
        made.start(victim, commit=(n, after, kinds))
    else:
        made.kill(victim)
        made.start(victim)
    assert n > 2, f"{victim} has not died"
    record = await made.finish(record)
    await as_without(made, record, text)


async def killed_at_each(made: Fleet, victim: str, after: bool, text: str, kinds: Sequence[str]) -> None:
    """A node dies at its first record of one kind, after the restart at its first one of the next kind, and so on."""
    made.kill("fog")  # Nothing begins before the victim is there.
    record = await made.submit(text)
    if victim != "fog":
        made.kill(victim)
    for place, kind in enumerate(kinds):
        made.start(victim, commit=(1, after, [kind]))
        if not place and victim != "fog":
            made.start("fog")
        await made.died(victim)
    made.start(victim)
    await as_without(made, await made.finish(record), text)


async def as_without(made: Fleet, record: Record, text: str) -> None:
    """The job's model is that of an undisturbed run, to the bit."""
    lines = [(line.what, line.child, line.why) for line in await made.lines(record)]
    assert (record.state, record.why) == ("finished", "")
    assert same(made.model(record), simulated(text).params), lines
    said = check_audit_logs(made.folder, sorted(made.specs))
    assert said["cloud"].count("job.submitted") == 1
    assert "job.ended" in said["cloud"]
    assert all("data.used" in said[name] for name in said if name.startswith("client"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("victim", RECORDS)
def test_a_node_that_dies_at_each_of_its_records_changes_nothing(victim: str, after: bool, tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            await killed_at_each(made, victim, after, TEXT, RECORDS[victim])

    asyncio.run(work())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_fog_that_dies_where_an_update_is_none_changes_nothing(kind: str, after: bool, tmp_path: Path) -> None:
    three = "quorum = 2\ncohort = 3"
    text = job(rounds=3, fogs=1, clients=3, cloud=ALL, fog=three, more="exact = true", task=UNUSABLE[kind])

    async def work() -> None:
        async with fleet(tmp_path, devices=3) as made:
            await killed_at_each(made, "fog", after, text, [kind])

    asyncio.run(work())


def test_a_fog_with_a_model_of_its_own_dies_at_every_commit(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            await killed_until_done(made, "fog", True, MOVING)

    asyncio.run(work())


@pytest.mark.parametrize(("victim", "after"), [("fog", False), ("fog", True), ("client-0", False), ("client-0", True)])
def test_a_sender_that_dies_at_every_commit_remembers_what_was_lost(victim: str, after: bool, tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            await killed_until_done(made, victim, after, STAGED)

    asyncio.run(work())


@pytest.mark.parametrize("what", REMEMBERING)
def test_what_adds_up_over_rounds_survives(what: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            await killed_until_done(made, REMEMBERING[what][0], True, REMEMBERING[what][1])

    asyncio.run(work())


@pytest.mark.parametrize("where", ["_take", "_enter"])
@pytest.mark.parametrize("round_", [2, ROUNDS])
def test_a_cloud_that_dies_before_a_round_is_written_down_writes_it_later(
    round_: int, where: str, tmp_path: Path
) -> None:
    call = f"fogline.network.cloud.running.job_run:JobRun.{where}"

    async def work() -> None:
        async with fleet(tmp_path) as made:
            made.kill("cloud")
            made.start("cloud", call=(call, round_, False))
            record = await made.submit(TEXT)
            await made.died("cloud")
            made.start("cloud")
            record = await made.finish(record)
            await as_without(made, record, TEXT)
            rows = RunFolder(made.folder / "cloud" / "runs" / record.job).history()
            assert ([row["round"] for row in rows], record.done) == ([*range(1, ROUNDS + 1)], ROUNDS)
            assert {row["devices"] for row in rows} == {2}
            assert rows[-1]["accuracy"] == simulated(TEXT).history[-1]["accuracy"]

    asyncio.run(work())


def test_a_cloud_that_dies_when_its_model_is_good_enough_trains_no_more(tmp_path: Path) -> None:
    """Its last row is written, and nobody was told that the job is over."""
    text = TEXT + "[evaluation]\ntarget = 0.5\nstop_at_target = true\n"

    async def work() -> None:
        async with fleet(tmp_path) as made:
            made.kill("cloud")
            made.start("cloud", call=("fogline.network.cloud.running.job_run:JobRun._enter", 1, True))
            record = await made.submit(text)
            await made.died("cloud")
            made.start("cloud")
            record = await made.finish(record)
            await as_without(made, record, text)
            assert record.done == len(simulated(text).history) < ROUNDS

    asyncio.run(work())


@pytest.mark.parametrize("point", POINTS)
def test_a_node_that_dies_at_a_stage_changes_nothing(point: str, tmp_path: Path) -> None:
    victim, where, after = POINTS[point]
    text = job(rounds=3, fogs=1, clients=2, cloud=ALL, fog=BOTH, more="exact = true")

    async def work() -> None:
        async with fleet(tmp_path) as made:
            for name in ("cloud", "fog", "client-0", "client-1"):  # With every value beside the messages.
                made.kill(name)
                made.start(name, **{"blobs": True} | ({"call": (where, 2, after)} if name == victim else {}))
            record = await made.submit(text)
            await made.died(victim)
            made.start(victim, blobs=True)
            record = await made.finish(record)
            await as_without(made, record, text)

    asyncio.run(work())


def test_a_fog_restarted_while_the_cloud_is_down_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            record = await made.submit(TEXT)
            await made.rounds(record, 2)
            made.kill("cloud")
            made.kill("fog")
            made.start("fog")
            await asyncio.sleep(2)  # Long enough to take the job up again, with nobody above.
            made.start("cloud")
            record = await made.finish(record)
            await as_without(made, record, TEXT)

    asyncio.run(work())


def test_everything_dies_at_once_and_comes_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path) as made:
            record = await made.submit(TEXT)
            await made.rounds(record, 2)
            for name in list(made.running):
                made.kill(name)
            for name in made.specs:
                made.start(name)
            record = await made.finish(record)
            await as_without(made, record, TEXT)

    asyncio.run(work())


def test_what_a_sender_remembers_is_its_own_also_below_another_fog(tmp_path: Path) -> None:
    """The movement of its only device is how often it has sent one, and adds up over the rounds. Models come as
    differences: whoever dies and wherever the device hangs, it has what its parent means."""
    rounds = 40
    text = job(
        rounds=rounds,
        fogs=2,
        clients=2,
        cloud='quorum = 1\ncohort = 1\ndeadline = "3s"\ndownlink = ["delta(every=30)", "int4"]',
        fog='quorum = 1\nuplink = ["small:Counts"]',
        task="size = 1000",
    ).replace("small:task", "small:numbers")

    async def work() -> None:
        async with fleet(tmp_path, fogs=2, devices=0) as made:
            await made.add("client-0", "device", [made.parent_address(name) for name in ("fog-0", "fog-1")])
            made.start("client-0")
            record = await made.submit(text, planned=False)
            await made.rounds(record, 3)
            made.kill("fog-0")
            made.kill("client-0")
            made.start("client-0")
            await made.logged("client-0", "is connected to fog-1")
            made.start("fog-0")
            await made.rounds(record, 12)
            made.kill("cloud")
            made.kill("fog-1")
            made.start("cloud")
            await wait_for(lambda: made.log("client-0").count("is connected to fog-0") == 2)
            made.start("fog-1")
            record = await made.finish(record)
            assert (record.state, record.done) == ("finished", rounds)
            counted = rounds - record.lost
            assert made.model(record).vector.min() >= counted * (counted + 1) / 2  # Begun anew, it is less.
            assert not [line for name in made.specs for line in made.log(name).splitlines() if "whole" in line]

    asyncio.run(work())

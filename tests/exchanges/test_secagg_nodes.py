"""Secure aggregation on real nodes, whose certificates vouch for their keys: the model is the plain mean's, also where
a node is killed in the middle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fogline.governance.identity.authority import Authority
from fogline.governance.identity.identity import Identity as Own
from fogline.governance.identity.proofs import signed
from fogline.governance.subject import Subject
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result
from fogline.network.cloud.records import Record
from fogline.network.cloud.running.beside import AskedBeside
from fogline.network.node.participation.exchanging import JobIdentity
from fogline.params import Params
from fogline.privacy.agreement import public_key
from fogline.privacy.identity import AgreementIdentity, proof_of, statement
from tests.network.cluster import Cluster, cluster, job
from tests.network.processes import Fleet, fleet
from tests.network.test_jobs import simulated

SECAGG = 'exchange = "secagg(threshold=0.5, weight=100.0, bits=64)"'
PLAIN = "quorum = 1.0"
CLOUD = 'exchange = "secagg(threshold=0.5, minimum=2, bits=64)"'
QUERIES = ("moments", "label_counts")
JUDGED = '[evaluation]\nwhere = "devices"\n'
DYING = {
    "client-0": ("Assigned", "Entered", "Stepped", "Posted"),
    "fog-0": ("StepTaken", "Advanced", "Entered", "Stepped", "Closed", "Posted"),
    "cloud": ("StepTaken", "Advanced", "Closed"),
}
"""What a node writes in an exchange, as a child and as a parent."""


def text(exchange: str = SECAGG, fogs: int = 1, more: str = "") -> str:
    tiers = {"cloud": PLAIN, "fog": f"{PLAIN}\n{exchange}"} if fogs else {"cloud": f"{PLAIN}\n{exchange}"}
    return job(rounds=2, fogs=fogs, clients=3, more=more, **tiers)


def both(below: str = SECAGG.replace("(", "(minimum=2, "), above: str = CLOUD, rounds: int = 2) -> str:
    """Devices with their fogs, and fogs with the cloud. A count is never cut: who was away is waited for."""
    tiers = {"cloud": f"{PLAIN}\ncohort = 2\n{above}", "fog": f"{PLAIN}\ncohort = 2\n{below}"}
    return job(rounds=rounds, fogs=2, clients=4, more="tree.minimum = 4", **tiers)


def close(one: Params, other: Params) -> bool:
    """Apart by what rounding in the ring may do."""
    return bool(np.abs(one.vector - other.vector).max() < 1e-5) and bool(np.abs(other.vector).max() > 1e-2)


def judged_as(made: Cluster, record: Record, expected: Result) -> list[set[str]]:
    """Devices have found of every round's model what they find in a plain simulation; what else rows have of it."""
    rows = RunFolder(made.folder / "cloud" / "runs" / record.job).history()
    assert len(rows) == len(expected.history)
    for row, other in zip(rows, expected.history, strict=True):
        for name in ("devices/accuracy", "devices/loss", "devices/judged", "accuracy"):
            assert row[name] == pytest.approx(other[name], abs=1e-4), made.said(record)
    return [{name for name in row if name.startswith(("devices/mean", "devices/std", "at/"))} for row in rows]


async def is_as_without(made: Fleet, record: Record, plain: str) -> None:
    """The job has ended well, with the model that the plain one gives."""
    lines = [(line.what, line.child, line.why) for line in await made.lines(record)]
    assert (record.state, record.why) == ("finished", ""), lines
    assert close(made.model(record), simulated(plain).params), lines


@pytest.mark.parametrize("fogs", [0, 1])
def test_a_job_under_secure_aggregation_gives_the_model_without(fogs: int, tmp_path: Path) -> None:
    """And the answers to queries of a simulation, and what devices find of the model without: they are summed too."""
    asked = text(fogs=fogs, more=f"queries = {[*QUERIES]}") + JUDGED

    async def work() -> None:
        async with cluster(tmp_path, fogs=fogs, devices=3) as made:
            record = await made.finish(await made.submit(asked))
            assert (record.state, record.why) == ("finished", ""), made.said(record)
            plain = simulated(text("", fogs) + JUDGED)
            assert close(made.model(record), plain.params), made.said(record)
            assert judged_as(made, record, plain) == [set(), set()]
            run = RunFolder(tmp_path / "cloud" / "runs" / record.job)
            found = run.load().queries
            assert found == simulated(asked).queries, made.said(record)
            assert found[QUERIES[0]]["count"] == 3 * 16
            assert json.loads(run.answers.read_bytes()) == found

    asyncio.run(work())


def test_a_cloud_that_has_an_answer_does_not_ask_again(tmp_path: Path) -> None:
    """After a restart: devices bring what they answer into one sum only."""
    kept, asked = tmp_path / "queries.json", list[str]()
    kept.write_text('{"moments": {"count": 3.0}}')

    def survey() -> None:
        asked.append("")

    files, note = (kept, tmp_path / "judged.json"), lambda what, why: asked.append(why)
    beside = AskedBeside(None, None, survey, note, False, *files)  # type: ignore[arg-type]
    asyncio.run(beside.query(["moments"], 1))
    assert (beside.answers, asked) == ({"moments": {"count": 3.0}}, [])


@pytest.mark.parametrize("below", ["", 'uplink = ["clip(norm=0.1)"]\n' + SECAGG.replace("(", "(minimum=2, ")])
def test_fogs_take_part_in_the_exchange_of_the_cloud(below: str, tmp_path: Path) -> None:
    """Alone, or above that of their devices, which clip what they bring. What devices find goes through both; alone,
    the cloud's adds up no more than updates."""
    plain = "\n".join(line for line in below.splitlines() if not line.startswith("exchange"))

    async def work() -> None:
        async with cluster(tmp_path, fogs=2, devices=4) as made:
            record = await made.finish(await made.submit(both(below) + JUDGED))
            assert (record.state, record.why) == ("finished", ""), made.said(record)
            expected = simulated(both(plain, "") + JUDGED)
            assert close(made.model(record), expected.params), made.said(record)
            more = set[str]() if below else {"devices/mean", "devices/std", "at/fog-0", "at/fog-1"}
            assert judged_as(made, record, expected) == [more, more]

    asyncio.run(work())


@pytest.mark.slow
@pytest.mark.parametrize(("where", "call"), [("_enter", 2), ("_conclude", 1)])
def test_a_cloud_that_dies_when_devices_have_judged_keeps_what_they_found(
    where: str, call: int, tmp_path: Path
) -> None:
    """In its row and in the result: devices bring what they find of one model into one sum only."""
    asked = text(fogs=0) + JUDGED

    async def work() -> None:
        async with fleet(tmp_path, fogs=0, devices=3) as made:
            made.kill("cloud")
            made.start("cloud", call=(f"fogline.network.cloud.running.job_run:JobRun.{where}", call, False))
            record = await made.submit(asked)
            await made.died("cloud")
            made.start("cloud")
            await is_as_without(made, await made.finish(record), text("", 0) + JUDGED)
            run = RunFolder(tmp_path / "cloud" / "runs" / record.job)
            assert [row["devices/judged"] for row in run.history()] == [3.0, 3.0]
            assert run.load().metrics == pytest.approx(simulated(text("", 0) + JUDGED).metrics, abs=1e-4)

    asyncio.run(work())


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "after"), [("client-0", False), ("fog-0", True), ("cloud", False)])
def test_a_node_that_dies_again_and_again_in_exchanges_changes_nothing(
    victim: str, after: bool, tmp_path: Path
) -> None:
    """At the first of its records, after it is back at the second from then on, and so forth."""

    async def work() -> None:
        async with fleet(tmp_path, fogs=2, devices=4) as made:
            made.kill(victim)
            made.start(victim, commit=(1, after, DYING[victim]))
            record, deaths = await made.submit(both()), 0
            for n in range(2, 6):
                dead = asyncio.create_task(made.died(victim))
                ended = asyncio.create_task(made.finish(record))
                await asyncio.wait((dead, ended), return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                dead.cancel()
                if victim in made.running:
                    break
                deaths += 1
                made.start(victim, **({"commit": (n, after, DYING[victim])} if n < 5 else {}))
            assert deaths > 2
            await is_as_without(made, await made.finish(record), both("", ""))

    asyncio.run(work())


# Whose key it is.


def member(authority: Authority, folder: Path, name: str, role: str = "device") -> Own:
    key = Own.create_key(folder / name)
    subject = Subject(name, role)  # type: ignore[arg-type]
    return key.install(authority.issue(key.csr(), subject, days=1.0), authority.root_pem, subject)


def test_a_key_is_believed_to_be_its_owners_and_nobody_elses(tmp_path: Path) -> None:
    authority, stranger = Authority.create(tmp_path / "a"), Authority.create(tmp_path / "b")

    def joined(by: Authority, name: str, role: str = "device", job: str = "j") -> AgreementIdentity:
        own = member(by, tmp_path / f"{name}-{role}-{job}-{by is authority}", name, role)
        return JobIdentity(job, lambda: own).now()

    ana, eve, fog = joined(authority, "ana"), joined(authority, "eve"), joined(authority, "fog", "fog")
    fake, elsewhere = joined(stranger, "ana"), joined(authority, "ana", job="k")
    key = {who: public_key(identity.secret) for who, identity in (("ana", ana), ("eve", eve), ("fog", fog))}
    trust, late = ana.trust, msgspec.structs.replace(ana.trust, at=ana.trust.at + 2 * 86400)
    assert trust.doubt(ana.proof, "ana", key["ana"]) == ""
    assert "not hold now" in late.doubt(ana.proof, "ana", key["ana"])
    assert "another node" in trust.doubt(fog.proof, "fog", key["fog"])
    assert "not signed by this authority" in trust.doubt(fake.proof, "ana", public_key(fake.secret))
    wrong = "not signed by the key of the certificate"
    assert wrong in trust.doubt(ana.proof, "eve", key["ana"])
    assert wrong in trust.doubt(ana.proof, "ana", key["eve"])
    assert wrong in trust.doubt(elsewhere.proof, "ana", public_key(elsewhere.secret))
    assert "has not shown" in trust.doubt(b"", "ana", key["ana"])
    # Eve says that she is Ana, with her own certificate and key.
    own = member(authority, tmp_path / "eve", "eve")
    proof = proof_of(own.certificate, signed(own, statement("j", "ana", key["eve"])))
    assert "another node" in trust.doubt(proof, "ana", key["eve"])
    assert repr(ana) == "AgreementIdentity(...)"  # A log must not have the secret.


def test_after_a_renewal_the_new_certificate_vouches(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "a")
    first, second = (member(authority, tmp_path / name, "ana") for name in ("first", "second"))
    shown = [first, first, second]
    identity = JobIdentity("j", lambda: shown.pop(0))
    made = [identity.now() for _ in range(3)]
    assert made[0].proof == made[1].proof != made[2].proof
    assert made[2].trust.doubt(made[2].proof, "ana", public_key(made[2].secret)) == ""

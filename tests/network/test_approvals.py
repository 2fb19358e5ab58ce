"""Jobs that wait for owners: at the cloud by its policy, and at each site by its own, which believes no cloud."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from fogline.cli import main
from fogline.governance.approvals.approval import Verdict, sign_approval
from fogline.governance.audit_log.audit_log import STREAM
from fogline.governance.audit_log.records import AuditRecord, decode_record
from fogline.governance.identity.checked import credentials
from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud.client import Client, OperatorApiError, connect
from fogline.network.cloud.owners.shown_policies import ShownPolicy, shown_policies
from fogline.network.cloud.records import Record
from fogline.network.cloud.requests import NewToken, SetPolicies
from fogline.network.node.enrolment import join
from fogline.network.node.process import NodeFolder, RunningNode
from fogline.network.node.site.fleet_policy import sign_fleet_policy
from fogline.network.transport.messages import ParentAddress
from tests.network.cluster import Cluster, cluster, job, within
from tests.network.processes import wait_for

JOB = job(rounds=1, fogs=0, clients=2, cloud="quorum = 2")


@pytest.fixture(scope="module")
def ines(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("ines") / "owner.key", "ines")


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory, ines: SigningKey) -> Iterator[Cluster]:
    """A cloud without owners, a device that asks nobody, and one that asks its owner; and the owner's identity."""

    async def owned(made: Cluster) -> None:
        place = await made.join("client-1", "device")
        place.policy.write_text(asking(place.policy.read_text(), ines))
        await made.start("client-1", [made.parent_address])
        await made.join("ines", "owner")

    with within(runner, cluster(tmp_path_factory.mktemp("approvals"), fogs=0, devices=1)) as made:
        runner.run(owned(made))
        yield made


def asking(policy: str, owner: SigningKey) -> str:
    """A policy under which every job waits for an owner."""
    return f'{policy}approval = true\n[[owner]]\nname = "{owner.signer.name}"\nkey = "{owner.signer.key}"\n'


def say(
    record: Record, key: SigningKey, verdict: Verdict = "approve", reason: str = "because", nodes: tuple[str, ...] = ()
) -> bytes:
    return sign_approval(record.job, record.bundle.digest, verdict, reason, key, time.time(), nodes)


def as_owner(made: Cluster, name: str = "ines") -> object:
    return connect(made.folder / name / "identity", "cloud", made.cloud.address)


def records(up: RunningNode, what: str) -> list[AuditRecord]:
    found = [decode_record(line) for line in up.node.database.read(STREAM)]
    return [record for record in found if record.what == what]


def test_a_site_waits_for_its_owner_whatever_the_cloud_says(
    runner: asyncio.Runner, made: Cluster, ines: SigningKey, tmp_path: Path
) -> None:
    """The cloud forges what it can: a word of another key under the owner's name, and the owner's on another job."""
    mallory = SigningKey.create(tmp_path / "mallory.key", "ines")

    async def work() -> None:
        scheduler = made.cloud.scheduler
        assert scheduler is not None
        record = await made.submit(JOB, planned=False)
        line = await made.until(record, "unapproved")
        assert line.child == "client-1"
        assert f"waiting for the approval of ines: fogline approvals show {record.job}" in line.why
        other = await made.submit(JOB.replace('name = "toy"', 'name = "other"'), planned=False)
        forged = say(record, mallory)
        await scheduler.owners_spoke(record.job, (forged, say(other, ines)))
        await wait_for(lambda: scheduler.unapproved(record.job) == ("client-1",))
        (report,) = [one for one in await made.client.approvals() if one.job == record.job]
        assert report.unapproved == ("client-1",)
        assert not records(made.members["client-1"], "job.accepted")
        await made.client.stop(other.job)
        async with as_owner(made) as owner:  # type: ignore[attr-defined]
            shown = await owner.approval(record.job)
            assert dict(shown.facts)["task"].startswith("small:task(")
            assert shown.state == "running"
            await owner.decide(record.job, say(record, ines))
        after = await made.finish(record)
        assert (after.state, after.done) == ("finished", 1)
        (accepted,) = records(made.members["client-1"], "job.accepted")
        assert accepted.facts["approved"] == (f"ines ({ines.signer.fingerprint})",)
        (decided,) = records(made.cloud, "job.decided")
        assert (decided.by, decided.about, decided.facts["verdict"]) == ("ines", record.job, "approve")

    runner.run(work())


def test_a_refusal_ends_a_job_on_the_owner_s_site_only(runner: asyncio.Runner, made: Cluster, ines: SigningKey) -> None:
    async def work() -> None:
        record = await made.submit(job(rounds=1, fogs=0, clients=2, cloud="quorum = 1"), planned=False)
        await made.until(record, "unapproved")
        async with as_owner(made) as owner:  # type: ignore[attr-defined]
            await owner.decide(record.job, say(record, ines, "refuse", "ask the board first"))
        after = await made.finish(record)
        assert (after.state, after.done) == ("finished", 1)
        device = made.members["client-1"]
        await wait_for(lambda: "ask the board first" in str(records(device, "job.refused")))

    runner.run(work())


def test_only_owners_speak_and_only_to_the_job_that_they_saw(
    runner: asyncio.Runner, made: Cluster, ines: SigningKey, tmp_path: Path
) -> None:
    async def work() -> None:
        record = await made.submit(JOB, planned=False)
        with pytest.raises(OperatorApiError, match="only data owners may approve and refuse jobs"):
            await made.client.decide(record.job, say(record, ines))
        async with as_owner(made) as owner:  # type: ignore[attr-defined]
            client: Client = owner
            word = sign_approval(record.job, "c" * 64, "approve", "", ines, time.time())
            with pytest.raises(OperatorApiError, match=r"What was signed is for job .* with the bundle cccc"):
                await client.decide(record.job, word)
            with pytest.raises(OperatorApiError, match=r"ines is a data owner; only .* may bring files"):
                await client.submit(JOB, b"")
            await client.fetch(record.bundle, tmp_path / "bundle.zip")
            await made.client.stop(record.job)
            await made.finish(record)
            with pytest.raises(OperatorApiError, match="is over: it stopped"):
                await client.decide(record.job, say(record, ines))
            with pytest.raises(OperatorApiError, match="ines may fetch the code of jobs that are not over"):
                await client.fetch(record.bundle, tmp_path / "again.zip")

    runner.run(work())


def test_an_owner_of_some_nodes_speaks_for_these(runner: asyncio.Runner, made: Cluster, ines: SigningKey) -> None:
    async def work() -> None:
        token = await made.client.token(NewToken("owner", nodes=("client-9*",)))
        place = NodeFolder(made.folder / "zoe")
        await join(ParentAddress("cloud", made.cloud.enrolment), token, "zoe", "owner", place.identity)
        record = await made.submit(JOB, planned=False)
        async with as_owner(made, "zoe") as owner:  # type: ignore[attr-defined]
            client: Client = owner
            with pytest.raises(OperatorApiError, match=r"limited to the nodes client-9\*.* this concerns \*"):
                await client.decide(record.job, say(record, ines))
            word = sign_approval(record.job, record.bundle.digest, "approve", "", ines, time.time(), ("client-91",))
            assert (await client.decide(record.job, word)).said[0].nodes == ("client-91",)
            assert [node.name for node in await client.nodes()] == []
            await made.until(record, "unapproved")  # The word is for other nodes than client-1,
            reports = [*await client.approvals(), await client.approval(record.job)]  # which zoe is not told of.
            assert [report.unapproved for report in reports if report.job == record.job] == [(), ()]
        assert (await made.client.approval(record.job)).unapproved == ("client-1",)
        await made.client.stop(record.job)
        await made.finish(record)

    runner.run(work())


def test_another_owner_brings_no_old_word_back(runner: asyncio.Runner, made: Cluster, ines: SigningKey) -> None:
    """Everybody reads what was signed: who hands in an approval that its owner has taken back is told so."""

    async def work() -> None:
        record = await made.submit(JOB, planned=False)
        approval, some = say(record, ines), say(record, ines, nodes=("client-1",))
        refusal = say(record, ines, "refuse", "not now")
        async with as_owner(made) as owner:  # type: ignore[attr-defined]
            client: Client = owner
            for word in (approval, refusal):
                await client.decide(record.job, word)
            for old in (approval, some):
                with pytest.raises(OperatorApiError, match=f"ines said something newer to job {record.job}: refuse"):
                    await client.decide(record.job, old)
            assert [word.verdict for word in (await client.approval(record.job)).said] == ["refuse"]
            await client.decide(record.job, say(record, ines, nodes=("client-7",)))
            with pytest.raises(OperatorApiError, match="said something newer"):
                await client.decide(record.job, approval)
        await made.client.stop(record.job)
        await made.finish(record)

    runner.run(work())


def test_an_owner_speaks_for_some_nodes_and_then_for_others(
    runner: asyncio.Runner, made: Cluster, ines: SigningKey
) -> None:
    """What was said for the first ones still holds; what is said for all takes the place of all that was said."""

    async def work() -> None:
        record = await made.submit(JOB, planned=False)
        async with as_owner(made) as owner:  # type: ignore[attr-defined]
            client: Client = owner
            for nodes in (("client-9*",), ("client-8",), ("client-8",), ("client-91",)):
                after = await client.decide(record.job, say(record, ines, nodes=nodes))
            assert [word.nodes for word in after.said] == [("client-9*",), ("client-8",), ("client-91",)]
            after = await client.decide(record.job, say(record, ines, "refuse"))
            assert [(word.verdict, word.nodes) for word in after.said] == [("refuse", ())]
        await made.client.stop(record.job)
        await made.finish(record)

    runner.run(work())


def test_a_job_that_needs_approval_when_its_turn_comes_waits_then(
    runner: asyncio.Runner, made: Cluster, ines: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cloud's policy was another one when it was submitted."""
    scheduler, policy = made.cloud.scheduler, made.folder / "cloud" / "policy.toml"
    assert scheduler is not None
    text = policy.read_text()

    async def work() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(scheduler.node.admission, "standing", lambda *_: None)
            policy.write_text(asking(text, ines))
            record = await made.submit(JOB, planned=False)
            assert record.state == "queued"
            await wait_for(lambda: scheduler.job_store.record(record.job).state == "waiting")
        async with as_owner(made) as owner:  # type: ignore[attr-defined]
            assert [report.missing for report in await owner.approvals() if report.job == record.job] == [("ines",)]
            await owner.decide(record.job, say(record, ines))
        assert (await made.finish(record)).state == "finished"

    try:
        runner.run(work())
    finally:
        policy.write_text(text)


def test_a_fleet_has_one_policy_from_the_next_job_on(
    runner: asyncio.Runner, made: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = made.folder / "cloud" / "operator"
    signer = (made.folder / "cloud" / "policy.toml").read_text()
    device = made.members["client-0"].node.admission.fleet_policy

    async def publish(text: str) -> bytes:
        signed = sign_fleet_policy(text, credentials(operator / "identity"))
        assert "every node takes it over with its next job" in await made.client.publish_policy(signed)
        return signed

    root = (operator / "identity" / "root.pem").read_bytes()

    async def shown() -> tuple[ShownPolicy, ...]:
        return shown_policies(await made.client.policies(), root, datetime.now())

    async def work() -> None:
        assert (await shown())[0].words == ("There is none: each node goes by its own.",)
        older = await publish(f"{signer}[privacy]\nminimum = 9\n")
        record = await made.finish(await made.submit(JOB, planned=False))
        assert record.state == "failed"
        assert "the fleet's policy wants at least 9 devices" in record.why
        assert not device.held, "no node heard of that job"
        newest = await publish(f"{signer}[privacy]\nminimum = 1\n")
        with pytest.raises(OperatorApiError, match="the fleet has a policy that is as new, or newer"):
            await made.client.publish_policy(older)
        single = job(rounds=1, fogs=0, clients=2, cloud="quorum = 1")
        assert (await made.finish(await made.submit(single, planned=False))).state == "finished"
        assert device.held == newest
        fleet, cloud = await shown()
        assert (fleet.by, fleet.text) == ("operator", f"{signer}[privacy]\nminimum = 1\n")
        assert any(line.startswith("operator (key ") for line in fleet.words)
        assert (cloud.by, cloud.text) == ("", signer)
        await asyncio.to_thread(main, ["policy", "show", "--cloud", str(made.folder / "cloud")])
        said = capsys.readouterr().out
        assert "The fleet's policy, signed by operator on " in said
        assert "The cloud's policy:\n  the cloud's policy holds now." in said
        # What the cloud has made up is not shown as an operator's.
        told = await made.client.policies()
        forged = told.fleet.replace(b"minimum = 1", b"minimum = 0")
        assert forged != told.fleet
        (words, *_), _ = (one.words for one in shown_policies(SetPolicies(forged, ""), root, datetime.now()))
        assert "cannot be believed" in words
        await publish("")
        assert (await shown())[0].words == ("It was taken back: each node goes by its own.",)

    runner.run(work())

"""Owners on the page: a job in words, as its bundle says, and a word on it that is signed with the owner's own key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fogline.governance.approvals.approval import read_approval
from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud.client import Client, OperatorApiError
from fogline.network.cloud.folder import OWNER_KEY
from fogline.network.cloud.records import ApprovalReport
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.process import NodeFolder
from fogline.network.transport.messages import ParentAddress
from tests.dashboard.browser import Page, opened, until
from tests.dashboard.people import board_of, operator_of
from tests.network.cluster import Cluster, cluster, job, within
from tests.network.test_approvals import asking

JOB = job(rounds=1, fogs=0, clients=1)


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cloud, an owner, and a device that asks her."""

    async def owned(made: Cluster) -> None:
        ines = await made.join("ines", "owner")
        key = SigningKey.create(ines.folder / OWNER_KEY, "ines")
        place = await made.join("client-0", "device")
        place.policy.write_text(asking(place.policy.read_text(), key))
        await made.start("client-0", [made.parent_address])

    with within(runner, cluster(tmp_path_factory.mktemp("owners"), fogs=0, devices=0)) as made:
        runner.run(owned(made))
        yield made


def owner_of(made: Cluster) -> Path:
    return made.folder / "ines" / "identity"


async def decided(page: Page, job: str, bundle: str, verdict: str, reason: str = "") -> tuple[int, Any]:
    wanted = {"job": job, "bundle": bundle, "verdict": verdict, "reason": reason}
    return await asyncio.to_thread(page.ask, "decide", wanted)


def test_an_owner_approves_what_she_was_shown_and_it_runs(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        board = board_of(made, owner_of(made))
        async with opened(board) as page:
            record = await made.submit(JOB)
            key = f"approval/{record.job}"
            known = await until(board, lambda said: said.get(key, {}).get("unapproved") == ["client-0"] and said)
            assert known[key]["by"] == "operator"
            status, shown = await asyncio.to_thread(page.ask, "approval", {"job": record.job})
            facts = dict(shown["facts"])
            assert (status, shown["bundle"], facts["bundle"]) == (200, record.bundle.digest, record.bundle.digest)
            assert "small.py" in facts["code"]
            assert facts["difference"].startswith("Nothing that was approved before")
            # Not of another bundle than she has seen, nor without a reason where it is refused.
            status, said = await decided(page, record.job, "0" * 64, "approve")
            assert (status, "another one was shown; look at it again" in said["error"]) == (400, True)
            status, said = await decided(page, record.job, record.bundle.digest, "refuse", " ")
            assert (status, "needs a reason" in said["error"]) == (400, True)
            assert (await made.client.jobs(record.job))[0].approvals == ()

            status, said = await decided(page, record.job, record.bundle.digest, "approve", "as agreed")
            assert (status, said.startswith(f"You approved job {record.job}")) == (200, True)
            after = await made.finish(record)
            assert (after.state, after.done) == ("finished", 1)
            word = read_approval(after.approvals[0])
            own = SigningKey.load(made.folder / "ines" / OWNER_KEY)
            assert (word.owner, word.verdict, word.reason) == (own.signer, "approve", "as agreed")
            await until(board, lambda said: not said.get(key))

    runner.run(work())


def test_a_cloud_that_puts_another_job_in_its_place_gets_no_word_on_it(
    runner: asyncio.Runner, made: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run more of the same bundle, which the owner was not asked about."""

    async def work() -> None:
        board = board_of(made, owner_of(made))
        async with opened(board) as page:
            record = await made.submit(JOB, wait=3600.0)
            await until(board, lambda said: said.get(f"approval/{record.job}", {}).get("unapproved"))
            approval = Client.approval

            async def forged(self: Client, job: str) -> ApprovalReport:
                return msgspec.structs.replace(await approval(self, job), job=f"{job}-again")

            with monkeypatch.context() as patch:
                patch.setattr(Client, "approval", forged)
                status, said = await decided(page, record.job, record.bundle.digest, "approve")
                assert (status, f"has job {record.job}-again" in said["error"]) == (400, True)
                patch.setattr(Client, "approval", lambda self, _: approval(self, record.job))
                status, said = await asyncio.to_thread(page.ask, "approval", {"job": "other"})
                assert (status, "was asked for job other, and answers for" in said["error"]) == (502, True)
            (after,) = await made.client.jobs(record.job)
            assert after.approvals == ()
            await made.client.stop(record.job, "discard")
            await made.finish(record)

    runner.run(work())


def test_the_next_one_is_compared_with_what_she_approved(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        board = board_of(made, owner_of(made))
        async with opened(board) as page:
            record = await made.submit(JOB.replace("rounds = 1", "rounds = 2"))
            await until(board, lambda said: said.get(f"approval/{record.job}", {}).get("unapproved"))
            _, shown = await asyncio.to_thread(page.ask, "approval", {"job": record.job})
            assert dict(shown["facts"])["difference"] == "of the job: rounds was 1 and is 2"
            status, _ = await decided(page, record.job, record.bundle.digest, "refuse", "one round will do")
            assert status == 200
            line = await made.until(record, "away")
            assert "one round will do" in line.why
            await made.client.stop(record.job, "discard")
            await made.finish(record)

    runner.run(work())


def test_an_owner_of_some_nodes_sees_these_and_speaks_for_these(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        token = await made.client.token(NewToken("owner", nodes=("press-*",)))
        place = NodeFolder(made.folder / "zoe")
        await join(ParentAddress("cloud", made.cloud.enrolment), token, "zoe", "owner", place.identity)
        SigningKey.create(place.folder / OWNER_KEY, "zoe")
        board = board_of(made, place.identity)
        async with opened(board) as page:
            record = await made.submit(JOB, wait=3600.0)
            known = await until(board, lambda said: said.get(f"approval/{record.job}") and said)
            assert "client-0" not in str([known["nodes/fleet"], known["tree/fleet"], *known.keys()])
            status, _ = await decided(page, record.job, record.bundle.digest, "approve")
            assert status == 200
            (after,) = await made.client.jobs(record.job)
            assert read_approval(after.approvals[0]).nodes == ("press-*",)
            await made.client.stop(record.job, "discard")
            await made.finish(record)

    runner.run(work())


def test_who_is_no_owner_sees_what_waits_and_cannot_decide(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        board = board_of(made, operator_of(made))
        async with opened(board) as page:
            record = await made.submit(JOB)
            await until(board, lambda said: said.get(f"approval/{record.job}", {}).get("unapproved"))
            assert "decide" not in board.about.calls
            status, shown = await asyncio.to_thread(page.ask, "approval", {"job": record.job})
            assert (status, shown["bundle"]) == (200, record.bundle.digest)
            assert (await decided(page, record.job, record.bundle.digest, "approve"))[0] == 404
            status, again = await asyncio.to_thread(page.ask, "clone", {"job": record.job, "changes": ["rounds=3"]})
            assert (status, again.endswith("is in the queue.")) == (200, True)
            (clone,) = [one for one in await made.client.jobs() if one.job in again]
            assert (clone.rounds, clone.by) == (3, "operator")
            for one in (record, clone):
                await asyncio.to_thread(page.ask, "stop", {"job": one.job, "how": "discard"})
                assert (await made.finish(one)).state == "stopped"
            status, (fleet, cloud) = await asyncio.to_thread(page.ask, "policies")
            assert (status, fleet["words"]) == (200, ["There is none: each node goes by its own."])
            assert cloud["text"].startswith("# Whose jobs may run here.")
            assert await asyncio.to_thread(page.ask, "budgets") == (200, [])

    runner.run(work())


def test_a_list_that_could_not_be_had_is_asked_for_again(
    runner: asyncio.Runner, made: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[Client] = []
    approvals = Client.approvals

    async def at_the_second_time(self: Client) -> list[ApprovalReport]:
        if not failed:
            failed.append(self)
            raise OperatorApiError("The cloud does not answer (Deadline Exceeded); does it run?")
        return await approvals(self)

    monkeypatch.setattr(Client, "approvals", at_the_second_time)

    async def work() -> None:
        board = board_of(made, operator_of(made))
        async with opened(board):
            record = await made.submit(JOB, wait=3600.0)
            await until(board, lambda said: said.get(f"approval/{record.job}"))
            assert failed
            await made.client.stop(record.job, "discard")
            await made.finish(record)

    runner.run(work())

"""Peers that lie, stall or send nonsense: each is cut off or refused with a sentence, and the job goes on."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from fogline.governance.errors import TrustError
from fogline.governance.identity.identity import Identity
from fogline.governance.subject import Subject
from fogline.network.cloud.cloud import CloudUp
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.node import DOWN
from fogline.network.transport import messages as c
from fogline.network.transport.grpc import dial
from fogline.network.transport.messages import ParentAddress
from fogline.network.transport.uplink import RefusedByParentError
from fogline.nodes.messages import Hello, Report
from fogline.processes.messages import encode
from tests.network.cluster import Cluster, cluster, job, within
from tests.network.test_jobs import same, simulated
from tests.patience import PATIENCE

ALL = 'quorum = 1.0\ndeadline = "20s"'


@asynccontextmanager
async def channel(made: Cluster, name: str) -> AsyncGenerator[grpc.aio.Channel]:
    """A connection that a member's certificate gives whoever has it."""
    async with dial(Identity.load(made.folder / name / "identity"), made.cloud.address, "cloud") as opened:
        yield opened


async def told(opened: grpc.aio.Channel, *frames: bytes) -> str:
    """Say these frames on a control stream; the words with which it ends."""
    call = opened.stream_stream(f"/{c.SERVICE}/Control")()
    try:
        async with asyncio.timeout(PATIENCE):
            for frame in frames:
                await call.write(frame)
            return await ending(call)
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    finally:
        call.cancel()


async def ending(call: grpc.aio.StreamStreamCall) -> str:
    """The words with which a call ends."""
    try:
        while isinstance(await call.read(), bytes):
            pass
        return await call.details() or ""
    except grpc.aio.AioRpcError as error:
        return error.details() or ""


async def pushed(opened: grpc.aio.Channel, *messages: bytes) -> grpc.StatusCode:
    """Push these bytes; how it ends."""

    async def stream() -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    call = opened.stream_stream(f"/{c.SERVICE}/Push")(stream())
    async with asyncio.timeout(PATIENCE):
        try:
            while isinstance(await call.read(), bytes):
                pass
        except grpc.aio.AioRpcError as error:
            return error.code()
        return await call.code()


PRESENT, LEAVING = encode(c.Present(c.PROTOCOL)), encode(c.Leaving())
LIES: dict[str, tuple[list[bytes], str]] = {
    "nothing that is a frame": ([b"\xc1"], "no frame"),
    "text that is no UTF-8": ([PRESENT, encode(c.LeftJob("job", "xx")).replace(b"xx", b"\xff\xfe")], "no frame"),
    "another protocol": ([encode(c.Present(99))], f"versions {c.OLDEST} to {c.PROTOCOL} of the protocol, not 99"),
    "an address, as if it had children": ([encode(c.Present(c.PROTOCOL, address="h:1"))], "join again as fog"),
    "itself twice": ([PRESENT, PRESENT], "presented itself twice"),
    "nothing of itself": ([encode(c.Leaving())], "must present itself"),
    "that it is many": ([PRESENT, encode(c.JoinedJob("job", Hello(devices=1000)))], "says that it is 1000"),
    "a report for many": ([PRESENT, encode(c.NodeMessage("job", Report(0, None, 1, 50)))], "reports for 50"),
    "news of another node": ([PRESENT, encode(c.NodeSeen("fog", "cloud", "fog", False))], "another node"),
    "things that never were": ([PRESENT, encode(c.JobLog("job", "liar", "failed", amount=10**9))], "things at once"),
    "things that are less than none": ([PRESENT, encode(c.JobLog("job", "liar", "failed", amount=-9))], "no frame"),
    "what another node counted": ([PRESENT, encode(c.JobLog("job", "client-1", "failed"))], "another node"),
}


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A star, and one more member whose certificate is in wrong hands."""
    with within(runner, cluster(tmp_path_factory.mktemp("liars"), fogs=0, devices=2)) as made:
        runner.run(made.join("liar", "device"))
        yield made


@pytest.mark.parametrize("lie", LIES)
def test_who_says_what_cannot_be_is_cut_off_with_a_sentence(lie: str, runner: asyncio.Runner, made: Cluster) -> None:
    frames, words = LIES[lie]

    async def work() -> None:
        async with channel(made, "liar") as opened:
            assert words in await told(opened, *frames)

    runner.run(work())


def test_unknown_jobs_and_strange_digests_do_no_harm(runner: asyncio.Runner, made: Cluster) -> None:
    blob = c.Blob("0" * 64, 10)
    frames = [
        encode(c.NodeMessage("no-such-job", Report(2**53, "cloud#1"), blob)),
        encode(c.JoinedJob("no-such-job", Hello())),
        encode(c.UnknownJobs(("x",) * 500)),
    ]

    async def work() -> None:
        async with channel(made, "liar") as opened:
            assert await told(opened, PRESENT, *frames, LEAVING) == "it left"
            assert "no frame" in await told(opened, PRESENT, frames[0].replace(b"0" * 64, b"." * 64))

    runner.run(work())


def test_a_device_that_answers_for_another_changes_nothing(runner: asyncio.Runner, made: Cluster) -> None:
    text = job(rounds=3, fogs=0, clients=2, cloud=ALL, task="slow = 0.3")

    async def work() -> None:
        record = await made.submit(text)
        await made.until(record, "began")
        evil = b"not an update"
        digest = hashlib.sha256(evil).hexdigest()
        async with channel(made, "liar") as opened:
            said = [
                encode(c.NodeMessage(record.job, Report(task, f"cloud#{task}", 10, 1), c.Blob(digest, len(evil), evil)))
                for task in range(6)
            ]
            lying = asyncio.create_task(told(opened, PRESENT, *said, LEAVING))
            assert await pushed(opened, encode(c.Push(digest, len(evil), record.job, 0))) == (
                grpc.StatusCode.FAILED_PRECONDITION
            )
            record = await made.finish(record)
            assert await lying == "it left"
        assert record.state == "finished"
        assert same(made.model(record), simulated(text).params)

    runner.run(work())


def test_a_device_that_reports_rubbish_is_refused_and_counted(runner: asyncio.Runner, made: Cluster) -> None:
    text = job(rounds=15, fogs=0, clients=2, cloud='quorum = 1\ndeadline = "20s"', task="slow = 0.1")

    async def work() -> None:
        await made.stop("client-0")
        record = await made.submit(text)  # The first round waits for both: alone, who reports rubbish moves nothing.
        rubbish = b"\x00" * 100
        blob = c.Blob(hashlib.sha256(rubbish).hexdigest(), 100, rubbish)
        async with channel(made, "client-0") as opened:
            call = opened.stream_stream(f"/{c.SERVICE}/Control")()
            await call.write(PRESENT)
            await call.read()
            async with asyncio.timeout(PATIENCE):
                while isinstance(answer := await call.read(), bytes):
                    frame = DOWN.decode(answer)
                    if isinstance(frame, c.Offer):
                        await call.write(encode(c.JoinedJob(record.job, Hello())))
                    if isinstance(frame, c.NodeMessage) and hasattr(frame.message, "model"):
                        task = frame.message.task  # type: ignore[union-attr]
                        report = Report(task, f"cloud#{task}", 10, 1)
                        for _ in range(3):  # And again, as a replay.
                            await call.write(encode(c.NodeMessage(record.job, report, blob)))
                    if isinstance(frame, c.JobEnded) and frame.job == record.job:
                        break
            call.cancel()
        record = await made.finish(record)
        await made.start("client-0", [made.parent_address])
        assert record.state == "finished"
        refused = [why for what, who, why in made.said(record) if (what, who) == ("failed", "client-0")]
        assert refused
        assert all("cannot be read" in why for why in refused)

    runner.run(work())


def test_ten_gigabytes_are_refused_before_a_byte_of_them_comes(runner: asyncio.Runner, made: Cluster) -> None:
    ten = 10 << 30

    async def work() -> None:
        digest = "a" * 64
        async with channel(made, "liar") as opened:
            code = await pushed(opened, encode(c.Push(digest, ten, "no-such-job", 0)))
            assert code == grpc.StatusCode.FAILED_PRECONDITION
            assert await pushed(opened, bytes(3 << 20)) == grpc.StatusCode.RESOURCE_EXHAUSTED
        operator = made.folder / "cloud" / "operator" / "identity"
        async with dial(Identity.load(operator), made.cloud.address, "cloud") as opened:
            assert await pushed(opened, encode(c.Push(digest, ten))) == grpc.StatusCode.FAILED_PRECONDITION
            assert await pushed(opened, encode(c.Push(digest, 4)), b"\x00abcd") == grpc.StatusCode.DATA_LOSS
            assert await pushed(opened, encode(c.Push(digest, 4)), b"\x00ab") == grpc.StatusCode.DATA_LOSS
        assert not made.cloud.node.value_store.blobs.has(digest)

    runner.run(work())


def test_who_connects_and_says_nothing_keeps_nobody_waiting(
    runner: asyncio.Runner, made: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        host, _, port = made.cloud.address.rpartition(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(50)]
        try:
            async with channel(made, "liar") as opened:
                with monkeypatch.context() as impatient:
                    impatient.setattr("fogline.network.transport.downlink.PATIENCE", 0.3)
                    impatient.setattr("fogline.network.transport.chunks.PATIENCE", 0.1)
                    assert "present itself at once" in await told(opened)
                    call = opened.stream_stream(f"/{c.SERVICE}/Push")()  # And never a word.
                    with pytest.raises(grpc.aio.AioRpcError, match="nothing came for a while"):
                        await call.read()
            record = await made.finish(await made.submit(job(rounds=2, fogs=0, clients=2, cloud=ALL)))
            assert record.state == "finished"
        finally:
            for connection in silent:
                connection.close()

    runner.run(work())


def test_tokens_that_are_wrong_used_up_or_expired_are_refused(
    runner: asyncio.Runner, made: Cluster, tmp_path: Path
) -> None:
    door = ParentAddress("cloud", made.cloud.enrolment)

    async def attempt(token: str, name: str) -> str:
        try:
            await join(door, token, name, "device", tmp_path / name / "identity")
        except TrustError as error:
            return str(error)
        return "joined"

    async def work() -> None:
        once = await made.client.token(NewToken("device"))
        assert await attempt(once, "one") == "joined"
        assert "used up" in await attempt(once, "two")
        assert "damaged" in await attempt(once[:-5], "three")
        assert "expired" in await attempt(await made.client.token(NewToken("device", ttl=1e-6)), "four")
        assert "is for a fog" in await attempt(await made.client.token(NewToken("fog")), "five")
        assert "node named ONE already" in await attempt(await made.client.token(NewToken("device")), "one".upper())

    runner.run(work())


def test_a_revoked_device_is_cut_off_at_once_and_told_why(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=2) as made:
            text = job(rounds=400, fogs=1, clients=2, task="slow = 0.05", cloud="quorum = 1", fog="quorum = 1")
            record = await made.submit(text)
            await made.until(record, "round")
            up = made.members["client-1"]
            await made.client.revoke("client-1")
            with pytest.raises(RefusedByParentError, match="client-1 was revoked by the operator"):
                async with asyncio.timeout(PATIENCE):
                    await asyncio.shield(up.failed)
            await made.until(record, "left")
            await made.client.stop(record.job)
            assert (await made.finish(record)).state == "stopped"
            (known,) = [known for known in await made.client.nodes() if known.name == "client-1"]
            assert (known.up, "revoked" in known.why) == (False, True)

    asyncio.run(work())


def test_a_device_revoked_between_its_call_and_its_first_word_does_not_come_in(
    runner: asyncio.Runner, made: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        await made.join("late", "device")
        node, dialled = made.cloud.node, asyncio.Event()
        refusal = node.refusal

        def seen(subject: Subject, serial: str) -> str | None:
            dialled.set()
            return refusal(subject, serial)

        monkeypatch.setattr(node, "refusal", seen)
        async with channel(made, "late") as opened:
            call = opened.stream_stream(f"/{c.SERVICE}/Control")()
            async with asyncio.timeout(PATIENCE):
                await dialled.wait()
                await made.client.revoke("late")
                await call.write(PRESENT)
                assert "late was revoked by the operator" in await ending(call)
        assert "late" not in node.downlink.sessions  # type: ignore[union-attr]

    runner.run(work())


def test_the_cloud_is_still_whole_after_all_that(runner: asyncio.Runner, made: Cluster) -> None:
    text = job(rounds=2, fogs=0, clients=2, cloud=ALL)

    async def work() -> None:
        assert isinstance(made.cloud, CloudUp)
        record = await made.finish(await made.submit(text))
        assert record.state == "finished"
        assert same(made.model(record), simulated(text).params)

    runner.run(work())

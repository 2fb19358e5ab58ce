"""Who is where: identities that were copied, clocks that are wrong, peers that fall silent, parents that come back."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fogline.governance.identity.authority import Authority
from fogline.governance.identity.identity import Identity
from fogline.governance.identity.revocation import Revocations
from fogline.governance.subject import Subject
from fogline.lab import FaultProxy
from fogline.network.cloud import fleet
from fogline.network.cloud.folder import AUTHORITY
from fogline.network.cloud.records import NodeInfo
from fogline.network.cloud.requests import NewToken
from fogline.network.cloud.scheduler import JobScheduler
from fogline.network.node import enrolment
from fogline.network.node.enrolment import join, keep_valid, renew
from fogline.network.node.process import Listening, NodeFolder, RunningNode, member
from fogline.network.node.services.revocations import RevocationService
from fogline.network.transport import grpc, uplink
from fogline.network.transport.downlink import address_of
from fogline.network.transport.messages import (
    Certificate,
    ClonedIdentity,
    ForkedLog,
    NodeSeen,
    ParentAddress,
    Revoked,
)
from fogline.network.transport.session import Session
from fogline.processes.messages import encode
from tests.network.cloud.test_restores import Site
from tests.network.cluster import LOCAL, Cluster, cluster
from tests.network.processes import wait_for
from tests.patience import PATIENCE

DAY = 86400.0


def connected(up: RunningNode) -> str | None:
    """A node's parent."""
    assert up.node.uplink is not None
    return up.node.uplink.parent


def below(up: RunningNode) -> set[str]:
    """A node's children."""
    assert up.node.downlink is not None
    return set(up.node.downlink.sessions)


# One identity on two machines.


def test_a_copied_identity_is_no_fight_and_both_addresses_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arrivals: list[str] = []

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=0) as made:
            node, scheduler = made.cloud.node, made.cloud.scheduler
            assert scheduler is not None
            arrived = node.arrived
            monkeypatch.setattr(node, "arrived", lambda s: (arrivals.append(s.present.instance), arrived(s))[1])
            await made.join("press", "device")
            shutil.copytree(tmp_path / "press", tmp_path / "copy")
            first = await made.start("press", [made.parent_address])
            await wait_for(lambda: connected(first) == "cloud", PATIENCE)
            second = await made.start("copy", [made.parent_address])
            assert await scheduler.job_store.until(lambda: bool(scheduler.job_store.nodes["press"].warning), PATIENCE)
            (known,) = await made.client.nodes()
            address = node.downlink.sessions["press"].address  # type: ignore[union-attr]
            assert f"at {address}, connected to cloud" in known.warning
            assert known.warning.count("127.0.0.1:") == 2
            assert "fogline nodes revoke press" in known.warning
            await wait_for(lambda: "another program, at" in caplog.text, PATIENCE)
            assert (connected(first), connected(second)) == (None, "cloud"), "the one that was thrown out stays out"
            assert len(arrivals) == len(set(arrivals)) == 2, arrivals
            await made.stop("copy")
            await wait_for(lambda: connected(first) == "cloud", PATIENCE)

    caplog.set_level(logging.INFO)
    asyncio.run(work())


def test_a_copy_below_another_parent_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "NOTICED", 0.5)

    async def work() -> None:
        async with cluster(tmp_path, fogs=2, devices=0) as made:
            scheduler = made.cloud.scheduler
            assert scheduler is not None
            await made.join("press", "device")
            shutil.copytree(tmp_path / "press", tmp_path / "copy")
            for name, fog in (("press", "fog-0"), ("copy", "fog-1")):
                await made.start(name, [ParentAddress(fog, made.members[fog].address)])
                assert await scheduler.job_store.until(lambda fog=fog: _parent(scheduler, "press") == fog, PATIENCE)
            assert await scheduler.job_store.until(lambda: bool(scheduler.job_store.nodes["press"].warning), PATIENCE)
            first, second = (next(iter(_children(made, fog))).address for fog in ("fog-0", "fog-1"))
            assert f"at {second}, connected to fog-1" in scheduler.job_store.nodes["press"].warning
            assert f"one at {first}" in scheduler.job_store.nodes["press"].warning
            await made.client.revoke("press")
            assert scheduler.job_store.nodes["press"].warning == ""

    asyncio.run(work())


def test_the_warning_of_a_copy_goes_with_a_revocation_that_a_child_brings_back(tmp_path: Path) -> None:
    """The cloud went back to a backup, and has forgotten whom it revoked."""

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=0) as made:
            assert made.cloud.scheduler is not None
            node, job_store = made.cloud.node, made.cloud.scheduler.job_store
            assert node.cloud is not None
            for name in ("press", "lathe", "mill"):
                await made.join(name, "device")
                job_store.met(NodeInfo(name, "device", "cloud", True, time.time(), warning="two programs"))
            before = Revocations().adding(time.time() - DAY, ["lathe"])  # It has joined anew since.
            signed = before.adding(time.time() + 1.0, ["press"]).sign(Authority.load(tmp_path / "cloud" / AUTHORITY))
            node.service(RevocationService).from_child(None, Revoked((signed,)))  # type: ignore[arg-type]
            warnings = {name: known.warning for name, known in job_store.nodes.items()}
            assert warnings == {"press": "", "lathe": "two programs", "mill": "two programs"}
            node.cloud.hear(ClonedIdentity("press", "cloud", "a:1", "b:2"))  # It was on its way.
            assert job_store.nodes["press"].warning == ""

    asyncio.run(work())


def test_the_warning_of_a_copy_is_over_when_the_node_was_started_again(tmp_path: Path) -> None:
    """What else there is to say of it is not; and a copy that is still there is told of anew."""

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=0) as made:
            assert made.cloud.scheduler is not None
            node, job_store = made.cloud.node, made.cloud.scheduler.job_store
            assert node.cloud is not None
            copy = ClonedIdentity("press", "cloud", "a:1", "b:2")
            for instance, up, warned in (("i", True, True), ("i", False, True), ("i", True, True), ("j", True, False)):
                node.cloud.hear(NodeSeen("press", "cloud", "device", up, instance=instance))
                if not up or instance == "i":
                    node.cloud.hear(copy)
                assert bool(job_store.nodes["press"].warning) == warned
            node.cloud.hear(copy)
            assert "start press again" in job_store.nodes["press"].warning
            node.cloud.hear(ForkedLog("press", "cloud", 1, 9))
            node.cloud.hear(NodeSeen("press", "cloud", "device", True, instance="k"))
            assert "the audit log of press" in job_store.nodes["press"].warning

    asyncio.run(work())


def _parent(scheduler: JobScheduler, name: str) -> str | None:
    known = scheduler.job_store.nodes.get(name)
    return None if known is None or not known.up else known.parent


def _children(made: Cluster, name: str) -> list[Session]:
    downlink = made.members[name].node.downlink
    assert downlink is not None
    return list(downlink.sessions.values())


def test_a_program_that_is_started_again_is_no_copy(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made:
            for _ in range(3):
                await made.stop("client-0")
                up = await made.start("client-0", [made.parent_address])
                await wait_for(lambda up=up: connected(up) == "cloud", PATIENCE)
            (known,) = await made.client.nodes()
            assert known.warning == ""

    asyncio.run(work())


@pytest.mark.parametrize(
    ("peer", "address"), [("ipv4:10.0.0.5:41234", "10.0.0.5:41234"), ("ipv6:%5Bfd00::5%5D:41234", "[fd00::5]:41234")]
)
def test_addresses_are_read_out_of_what_grpc_calls_a_peer(peer: str, address: str) -> None:
    assert address_of(peer) == address


# Clocks.


class Above:
    """A parent that gives every certificate that is asked for."""

    def __init__(self, folder: Path, subject: Subject) -> None:
        self.authority = Authority.create(folder)
        self.subject = subject
        self.asked = 0

    async def connection(self) -> None:
        pass

    async def unary(self, _: str, asked: Any) -> bytes:
        self.asked += 1
        made = self.authority.issue(asked.request, self.subject, 30, real())
        return encode(Certificate(made, self.authority.root_pem, ParentAddress("cloud", "h:1")))


real = time.time


@pytest.mark.parametrize(("days", "renewals"), [(25.0, 1), (21.0, 1), (3.0, 0), (-25.0, 0)])
def test_a_clock_that_is_wrong_renews_no_certificate_again_and_again(
    days: float, renewals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    above = Above(tmp_path / "authority", Subject("press", "device"))
    key = Identity.create_key(tmp_path / "identity")
    key.install(above.authority.issue(key.csr(), above.subject, 30), above.authority.root_pem)
    waits: list[float] = []

    class EnoughError(Exception):
        pass

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 50:
            raise EnoughError

    monkeypatch.setattr(enrolment.time, "time", lambda: real() + days * DAY)
    monkeypatch.setattr(enrolment.asyncio, "sleep", sleep)
    with pytest.raises(EnoughError):
        asyncio.run(keep_valid(tmp_path / "identity", above))  # type: ignore[arg-type]
    assert above.asked == renewals
    assert min(waits) > 60, "it waits for hours, in pieces"
    assert ("set the clock right" in caplog.text) == (renewals > 0)


def test_a_parent_gives_no_certificate_right_after_another(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=1, devices=1) as made:
            identity = Identity.load(tmp_path / "client-0" / "identity")
            line = made.members["client-0"].node.uplink
            assert line is not None
            await line.connection()
            with pytest.raises(LookupError, match=r"was issued 0 minutes ago, and is renewed after 480 hours"):
                await renew(tmp_path / "client-0" / "identity", identity, line)
            assert Identity.load(tmp_path / "client-0" / "identity").serial == identity.serial

    asyncio.run(work())


# Silence.


def test_a_peer_that_vanishes_without_a_word_is_noticed_by_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC's own limit for an answer to a sign of life is a minute, longer than the limits of this test."""
    for name in ("LIMITS", "SERVING"):
        quick = dict(grpc.alive(1.0, 1.0))
        options: list[tuple[str, Any]] = getattr(grpc, name)
        assert dict(options).keys() >= quick.keys()
        monkeypatch.setattr(grpc, name, [(key, quick.get(key, value)) for key, value in options])

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=0) as made:
            host, _, port = made.cloud.address.rpartition(":")
            async with FaultProxy(host, int(port)) as proxy:
                await made.join("press", "device")
                up = await made.start("press", [ParentAddress("cloud", f"127.0.0.1:{proxy.port}")])
                await wait_for(lambda: connected(up) == "cloud", PATIENCE)
                proxy.partition()
                await wait_for(lambda: connected(up) is None and "press" not in below(made.cloud), 55)
                proxy.partition(False)
                await wait_for(lambda: connected(up) == "cloud", PATIENCE)

    asyncio.run(work())


def test_both_sides_notice_within_thirty_seconds() -> None:
    for options in (dict(grpc.LIMITS), dict(grpc.SERVING)):
        answer = max(options["grpc.keepalive_timeout_ms"], options["grpc.http2.ping_timeout_ms"])
        assert options["grpc.keepalive_time_ms"] + answer <= 30_000


# Parents that come back.


@pytest.mark.slow
def test_devices_go_back_to_their_own_fog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink, "SPREAD", 0.5)

    async def work() -> None:
        async with cluster(tmp_path, fogs=2, devices=3) as made:
            own, other = made.members["fog-0"], made.members["fog-1"]
            await wait_for(lambda: below(own) == {"client-0", "client-2"}, PATIENCE)
            await wait_for(lambda: all(len(_parent_addresses(made, i)) == 2 for i in range(3)), PATIENCE)
            address = own.address
            await made.stop("fog-0")
            await wait_for(lambda: below(other) == {"client-0", "client-1", "client-2"}, PATIENCE)
            assert [parent_address.name for parent_address in _parent_addresses(made, 0)] == ["fog-0", "fog-1"], (
                "it does not forget its own"
            )
            again = await made.start("fog-0", [made.parent_address], Listening(address, "127.0.0.1:0"))
            await wait_for(lambda: below(again) == {"client-0", "client-2"}, PATIENCE)
            assert below(other) == {"client-1"}

    asyncio.run(work())


def _parent_addresses(made: Cluster, i: int) -> list[ParentAddress]:
    line = made.members[f"client-{i}"].node.uplink
    assert line is not None
    return line.parent_addresses


@pytest.mark.slow
def test_a_device_below_two_fogs_is_shown_connected_after_a_restart_of_the_cloud(tmp_path: Path) -> None:
    site = Site(tmp_path)
    tree = [("region", "fog", "cloud"), ("site", "fog", "region"), ("press", "device", "site")]

    async def up_nodes(client: Any) -> set[tuple[str, str]]:
        return {(known.name, known.parent) for known in await client.nodes() if known.up}

    async def work() -> None:
        wanted = {(name, parent) for name, _, parent in tree}
        async with AsyncExitStack() as below_cloud:
            for turn in range(2):
                async with AsyncExitStack() as stack:
                    up, client = await site.start(stack)
                    if turn == 0:
                        nodes: dict[str, Any] = {"cloud": up}
                        for name, role, parent in tree:
                            place = NodeFolder(tmp_path / name)
                            token = await client.token(NewToken(role))  # type: ignore[arg-type]
                            await join(ParentAddress("cloud", up.enrolment), token, name, role, place.identity)  # type: ignore[arg-type]
                            listening = LOCAL if role == "fog" else None
                            parent_addresses = [ParentAddress(parent, nodes[parent].address)]
                            nodes[name] = await below_cloud.enter_async_context(
                                member(place, parent_addresses, listening)
                            )
                    async with asyncio.timeout(PATIENCE):
                        while await up_nodes(client) != wanted:
                            await asyncio.sleep(0.05)

    asyncio.run(work())

"""Heads of audit logs between a fog and a device: each keeps the other's, and a past that was written anew is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fogline.governance.audit_log.audit_log import STREAM
from fogline.governance.audit_log.records import Fact, decode_record
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.credentials import CertificateFacts
from fogline.governance.policy.policy import read_policy
from fogline.governance.subject import Subject
from fogline.network.node.node import Node
from fogline.network.node.services.audit_heads import KEPT, AuditHeadService
from fogline.network.node.uses import BACK
from fogline.network.transport.messages import PROTOCOL, AuditKnown, AuditShown, ForkedLog, Present, UpFrame
from fogline.network.transport.session import Session
from tests.network.node.test_ledgers import Above, member, node_of, said


@dataclass
class Pair:
    """A device below a fog, and what goes between them."""

    fog: Node
    device: Node
    above: Above = field(default_factory=Above)
    """The fog's own uplink."""
    up: Above = field(default_factory=lambda: Above(parent="fog"))
    """The device's."""

    def __post_init__(self) -> None:
        self.fog.uplink = self.above  # pyright: ignore[reportAttributeAccessIssue]
        self.device.uplink = self.up  # pyright: ignore[reportAttributeAccessIssue]

    async def talk(self, session: Session, first: UpFrame | None = None) -> int:
        """Carry frames to and fro until both are silent; how many there were."""
        count = 0
        if first is None:
            self.fog.arrived(session)
        else:
            self.fog.from_child(session, first)
        while True:
            await settled(self.fog)
            down = [frame for frame in said(session) if isinstance(frame, AuditKnown | AuditShown)]
            for frame in down:
                self.device.from_parent("fog", frame)
            await settled(self.device)
            up = [frame for frame in self.up.sent if isinstance(frame, AuditShown | ForkedLog)]
            self.up.sent.clear()
            for frame in up:
                self.fog.from_child(session, frame)
            if not down and not up:
                return count
            count += len(down) + len(up)
            assert count < 20, "they never end"


async def settled(node: Node) -> None:
    tasks = node.service(AuditHeadService)._tasks._running  # pyright: ignore[reportPrivateUsage]
    while tasks:
        await asyncio.wait(list(tasks))


def session_of(name: str = "press-7") -> Session:
    return Session(CertificateFacts(Subject(name, "device"), "serial", 0.0, 1.0, ""), Present(PROTOCOL))


def told(node: Node) -> list[tuple[str, str, object]]:
    records = [decode_record(line) for line in node.database.read(STREAM)]
    return [(one.what, one.about, one.facts.get("size")) for one in records]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "authority")


@pytest.fixture
def pair(tmp_path: Path, authority: Authority) -> Iterator[Pair]:
    fog = node_of(tmp_path / "fog", "fog", "fog", authority, member(authority, tmp_path / "f", "fog", "fog"))
    device = node_of(tmp_path / "press-7", "press-7", "device", authority, member(authority, tmp_path / "d", "press-7"))
    yield Pair(fog, device)
    fog.database.close()
    device.database.close()


def test_each_keeps_the_other_s_head_and_both_fall_silent(pair: Pair) -> None:
    async def work() -> None:
        await pair.device.audit.record("job.accepted", "press-7", "job-1")
        await pair.fog.audit.record("job.accepted", "fog", "job-1")
        assert await pair.talk(session_of()) == 3
        assert told(pair.fog)[1:] == [("audit.anchored", "press-7", 1)]
        assert told(pair.device)[1:] == [("audit.anchored", "fog", 2)]
        await pair.device.audit.record("job.accepted", "press-7", "job-2")
        assert await pair.talk(session_of()) == 3
        assert told(pair.fog)[2:] == [("audit.anchored", "press-7", 3)]
        assert told(pair.device)[3:] == [("audit.anchored", "fog", 3)]
        assert not [frame for frame in pair.above.sent if isinstance(frame, ForkedLog)]

    asyncio.run(work())


def test_a_head_whose_answer_was_lost_is_shown_again_with_the_right_proof(pair: Pair) -> None:
    async def work() -> None:
        await pair.device.audit.record("job.accepted", "press-7", "job-1")
        await pair.talk(session_of())
        service = pair.device.service(AuditHeadService)
        service._parent_has = 0  # pyright: ignore[reportPrivateUsage]
        await pair.device.audit.record("job.accepted", "press-7", "job-2")
        await service._show_parent()  # pyright: ignore[reportPrivateUsage]
        (shown,) = pair.up.sent
        pair.up.sent.clear()
        assert isinstance(shown, AuditShown)
        assert shown.since == 0
        await pair.talk(session_of(), shown)
        assert ("audit.anchored", "press-7", 3) in told(pair.fog)
        assert "audit.forked" not in str(told(pair.fog))

    asyncio.run(work())


def test_heads_that_come_close_together_accuse_nobody(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second was on its way before the first was answered, and is looked at when that is kept."""

    async def work() -> None:
        recorded, kept, witness = asyncio.Event(), asyncio.Event(), pair.fog.audit.witness

        async def late(what: str, about: str, **facts: Fact) -> None:
            await witness(what, about, **facts)
            recorded.set()
            await kept.wait()

        shows = pair.device.service(AuditHeadService)._shown  # pyright: ignore[reportPrivateUsage]
        frames: list[AuditShown] = []
        for i in range(3):
            await pair.device.audit.record("job.accepted", "press-7", f"job-{i}")
            frame = await shows(min(i, 1), "fog")
            assert frame is not None
            frames.append(frame)
        await pair.talk(session := session_of(), frames[0])
        monkeypatch.setattr(pair.fog.audit, "witness", late)
        pair.fog.from_child(session, frames[1])
        await recorded.wait()
        kept.set()
        await pair.talk(session, frames[2])
        assert "audit.forked" not in str(told(pair.fog))
        assert told(pair.fog)[-1][0] == "audit.anchored"

    asyncio.run(work())


@pytest.mark.parametrize("records", [1, 5], ids=["an old backup", "written anew"])
def test_a_past_that_is_another_is_recorded_and_told(
    records: int, pair: Pair, tmp_path: Path, authority: Authority
) -> None:
    async def work() -> None:
        for i in range(3):
            await pair.device.audit.record("job.accepted", "press-7", f"job-{i}")
        await pair.talk(session_of())
        own = pair.device.credentials
        assert own is not None
        again = node_of(tmp_path / "anew", "press-7", "device", authority, own())
        for i in range(records):
            await again.audit.record("job.refused", "press-7", f"job-{i}")
        forged = Pair(pair.fog, again, pair.above)
        await forged.talk(session_of())
        assert told(pair.fog)[-1] == ("audit.forked", "press-7", records)
        (news,) = [frame for frame in pair.above.sent if isinstance(frame, ForkedLog)]
        assert (news.name, news.witness, news.size, news.was) == ("press-7", "fog", records, 3)
        await again.audit.record("job.refused", "press-7", "job-9")
        await forged.talk(session_of())
        assert told(pair.fog)[-1] == ("audit.anchored", "press-7", records + 2), "the new line is kept from here on"
        again.database.close()

    asyncio.run(work())


def test_a_child_tells_of_a_parent_that_went_back(pair: Pair, tmp_path: Path, authority: Authority) -> None:
    async def work() -> None:
        for i in range(4):
            await pair.fog.audit.record("job.accepted", "fog", f"job-{i}")
        await pair.device.audit.record("job.accepted", "press-7", "job-1")
        await pair.talk(session_of())
        own = pair.fog.credentials
        assert own is not None
        back = node_of(tmp_path / "back", "fog", "fog", authority, own())
        below = Pair(back, pair.device)
        await below.talk(session_of())
        assert ("audit.forked", "fog", 1) in told(pair.device)
        (news,) = [frame for frame in below.above.sent if isinstance(frame, ForkedLog)]
        assert (news.name, news.witness) == ("fog", "press-7")
        back.database.close()

    asyncio.run(work())


def test_nobody_else_can_speak_for_a_log(pair: Pair, tmp_path: Path, authority: Authority) -> None:
    async def work() -> None:
        await pair.device.audit.record("job.accepted", "press-7", "job-1")
        await pair.talk(session_of())
        before = pair.fog.database.get(KEPT, "press-7")
        thief = node_of(tmp_path / "p", "press-7", "device", authority, member(authority, tmp_path / "t", "press-8"))
        await thief.audit.record("job.refused", "press-7", "job-1")
        await Pair(pair.fog, thief, pair.above).talk(session_of())
        for frame in (AuditShown(b"", 1, (), 0), AuditShown(b"\x81", 1, (b"x",), 0)):
            await pair.talk(session_of(), frame)
        assert pair.fog.database.get(KEPT, "press-7") == before
        assert len(told(pair.fog)) == 1
        liar = session_of("press-8")
        pair.fog.from_child(liar, ForkedLog("fog", "press-7", 0, 9))
        assert liar.why == "press-8 told of press-7, which is another node"
        thief.database.close()

    asyncio.run(work())


@pytest.mark.parametrize("forged", [False, True])
def test_a_device_that_went_back_to_a_backup_learns_it_from_its_fog(
    forged: bool, pair: Pair, authority: Authority, tmp_path: Path
) -> None:
    """What counted uses of its owner's policy went back too. A fog cannot make that up."""

    async def work() -> None:
        for job in ("job-1", "job-2"):
            await pair.device.audit.record("job.accepted", "press-7", job)
        await pair.talk(session_of())
        data = pair.fog.database.get(KEPT, "press-7")
        assert data is not None
        policy = tmp_path / "older" / "policy.toml"
        policy.parent.mkdir()
        policy.write_text("")
        kept = member(authority, tmp_path / "d2", "press-7")
        pair.device.database.close()
        pair.device = node_of(tmp_path / "older", "press-7", "device", authority, kept)
        pair.device.uplink = pair.up  # pyright: ignore[reportAttributeAccessIssue]
        head = data[:-1] + bytes([data[-1] ^ 1]) if forged else data
        pair.device.from_parent("fog", AuditKnown(4, head))
        await settled(pair.device)
        noted = [key for key, _ in pair.device.database.all(BACK)]
        assert noted == ([] if forged else [read_policy(policy).digest])

    asyncio.run(work())

"""Ends of ledgers: parents keep the newest that its node has signed, and show it to who comes with an older one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from fogline.governance.identity.authority import Authority
from fogline.governance.identity.checked import credentials
from fogline.governance.identity.credentials import CertificateFacts, Credentials
from fogline.governance.identity.identity import Identity
from fogline.governance.identity.statements import LARGEST
from fogline.governance.policy.offers import Offers
from fogline.governance.subject import Role, Subject
from fogline.jobs.files.reading import parse_job
from fogline.network.cloud.owners.budgets import spent_budgets
from fogline.network.node.context import SiteSettings
from fogline.network.node.node import Node
from fogline.network.node.participation.charging import Charging
from fogline.network.node.participation.driver import Driver
from fogline.network.node.site.admission import AdmissionControl
from fogline.network.node.values import ValueStore
from fogline.network.transport.messages import PROTOCOL, LedgerAsked, LedgerEnd, Present, UpFrame, Welcome
from fogline.network.transport.session import Session
from fogline.nodes import Device
from fogline.privacy.accounting.events import Event, Gaussian, Repeated
from fogline.privacy.accounting.heads import LedgerHead, sign_head, verified_head
from fogline.privacy.accounting.ledger import BudgetError, Charge, PrivacyLedger
from fogline.storage import open_blobs, open_database


def member(authority: Authority, folder: Path, name: str, role: Role = "device") -> Credentials:
    key = Identity.create_key(folder)
    key.install(authority.issue(key.csr(), Subject(name, role), 30, time.time()), authority.root_pem)
    return credentials(folder)


def charge(times: int) -> Charge:
    return Charge("toy-1", "device", times, (Repeated(Gaussian(5.0), times),), 1e-5)


@dataclass
class Above:
    """An uplink that keeps what goes up."""

    sent: list[UpFrame] = field(default_factory=list[UpFrame])
    parent: str = "cloud"

    def send(self, frame: UpFrame) -> None:
        self.sent.append(frame)


@dataclass
class World:
    """A fog, a device with a ledger, and its ends, the first entry's first."""

    authority: Authority
    folder: Path
    fog: Node
    above: Above
    device: Credentials
    ends: list[LedgerEnd]

    def session(self, name: str = "client-0", role: Role = "device") -> Session:
        return Session(CertificateFacts(Subject(name, role), "serial", 0.0, 1.0, ""), Present(PROTOCOL))

    def node(self, name: str, own: Credentials) -> Node:
        return node_of(self.folder / name, name, "device", self.authority, own)


def node_of(folder: Path, name: str, role: Role, authority: Authority, own: Credentials | None = None) -> Node:
    folder.mkdir(exist_ok=True)
    database, blobs = open_database(folder / "records.sqlite"), open_blobs(folder / "blobs", reserve=0)
    store = ValueStore(blobs, blobs, folder / "drafts", [])
    admission = AdmissionControl(
        authority.root_pem, folder / "policy.toml", Offers(cpus=1, memory_bytes=0), folder / "code", database
    )
    made = Node(Subject(name, role), database, store, folder, admission, SiteSettings())
    if own is not None:
        made.credentials = lambda: own
    return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    authority = Authority.create(tmp_path / "authority")
    device = member(authority, tmp_path / "identity", "client-0")
    ledger, ends = PrivacyLedger(tmp_path / "privacy.jsonl"), list[LedgerEnd]()
    for times in (1, 2, 3):
        ledger.charge(charge(times))
        ends.append(LedgerEnd("client-0", sign_head(LedgerHead.of(ledger, "client-0"), device)))
    fog, above = node_of(tmp_path / "fog", "fog", "fog", authority), Above()
    fog.uplink = above  # pyright: ignore[reportAttributeAccessIssue]
    yield World(authority, tmp_path, fog, above, device, ends)
    fog.database.close()


def said(session: Session) -> list[object]:
    return [session.frames.get_nowait() for _ in range(session.frames.qsize())]


def test_the_newest_end_is_kept_handed_up_and_shown_again(world: World) -> None:
    session = world.session()
    for place in (0, 1, 2, 2):
        world.fog.from_child(session, world.ends[place])
    assert world.above.sent == world.ends  # Each of them once.
    assert said(session) == []
    world.fog.from_child(session, world.ends[1])
    assert said(session) == [world.ends[2]]
    back = world.session()
    world.fog.arrived(back)
    assert world.ends[2] in said(back)
    assert len(world.ends[2].data) < LARGEST / 10


def test_nobody_else_can_move_a_node_s_end(world: World, tmp_path: Path) -> None:
    other = member(world.authority, tmp_path / "other", "client-1")
    stranger = member(Authority.create(tmp_path / "strangers"), tmp_path / "stranger", "client-0")
    head = LedgerHead("client-0", 99, "0" * 64, "device", ())
    forged = [sign_head(head, other), sign_head(head, stranger), b"", b"\x81", world.ends[0].data[:-3] + b"abc"]
    for data in forged:
        assert verified_head(data, world.authority.root_pem) is None
        world.fog.from_child(world.session("fog-2", "fog"), LedgerEnd("client-0", data))
        world.fog.from_parent("cloud", LedgerEnd("client-0", data))
    assert world.above.sent == []
    session = world.session("client-1")
    world.fog.from_child(session, world.ends[0])
    assert session.why == "client-1 told of client-0, which is another node"


def test_a_fog_that_does_not_know_a_node_asks_above_and_hands_the_answer_down(world: World) -> None:
    session = world.session()
    world.fog.arrived(session)
    assert LedgerAsked("client-0") in world.above.sent
    world.fog.say_to_all = session.send  # pyright: ignore[reportAttributeAccessIssue]
    world.fog.from_parent("cloud", world.ends[1])
    assert world.ends[1] in said(session)
    again = world.session()
    world.fog.from_child(world.session("fog-2", "fog"), LedgerAsked("client-0"))
    world.fog.arrived(again)
    assert world.ends[1] in said(again)


def test_what_others_know_of_comes_back_when_a_parent_has_forgotten_it(world: World) -> None:
    world.fog.from_child(world.session(), world.ends[2])
    world.above.sent.clear()
    world.fog.downlink = object()  # pyright: ignore[reportAttributeAccessIssue]
    services = world.fog._services.values()  # pyright: ignore[reportPrivateUsage]
    (ledgers,) = (service for service in services if type(service).__name__ == "LedgerService")
    ledgers.connected("cloud", Welcome("cloud"))
    assert world.above.sent == [world.ends[2]]


@pytest.mark.parametrize("entries", [0, 2], ids=["deleted", "an old backup"])
def test_a_node_that_is_shown_more_than_it_has_gives_away_nothing(entries: int, world: World) -> None:
    node = world.node("client-0", world.device)
    for times in range(1, entries + 1):
        node.spending.ledger.charge(charge(times))
    node.from_parent("fog", world.ends[2])
    # Also after a restart.
    for one in (node, world.node("client-0", world.device)):
        with pytest.raises(BudgetError, match=r"has signed entry 3 of its ledger of privacy, and .* take-over"):
            one.spending._charge(charge(9))  # pyright: ignore[reportPrivateUsage]
    node.database.close()


def test_a_node_whose_ledger_is_whole_goes_on(world: World) -> None:
    node = world.node("client-0", world.device)
    lines = (world.folder / "privacy.jsonl").read_bytes()
    (world.folder / "client-0" / "privacy.jsonl").write_bytes(lines)
    for end in world.ends:
        node.from_parent("fog", end)
    assert node.spending._charge(charge(4)) is not None  # pyright: ignore[reportPrivateUsage]
    node.database.close()


def test_a_copy_that_went_its_own_way_is_seen(world: World) -> None:
    node = world.node("client-0", world.device)
    for times in (1, 5, 6, 7):
        node.spending.ledger.charge(charge(times))
    node.from_parent("fog", world.ends[2])
    with pytest.raises(BudgetError, match=r"privacy\.jsonl is not the same: it went back to a backup, or is a copy"):
        node.spending._charge(charge(9))  # pyright: ignore[reportPrivateUsage]
    node.database.close()


def test_a_job_that_a_parent_ends_and_offers_anew_is_charged_anew(world: World) -> None:
    """A parent may say that a job has ended, and offer it again: the device's journal goes, and its ledger does not."""
    node, nothing = world.node("client-0", world.device), cast("Any", None)
    job = parse_job('rounds = 9\n[privacy]\nnoise = 5.0\nat = "devices"')

    async def train(times: int) -> float:
        driver = Driver("toy-1", Device("client-0", "fog"), node.database, node.value_store, nothing, nothing, "fog")
        await driver.recover()
        assert await Charging("toy-1", job, node, 10, "digest").allow(times, driver.begun) is None
        return node.spending.ledger.spent(1e-5)

    async def work() -> None:
        spent = await train(1)
        assert await train(1) == spent  # After a crash, or below another parent, the journal is the same.
        again = await train(2)
        node.database.drop("toy-1")
        assert spent < again < await train(1)
        assert node.spending.ledger.trainings("toy-1") == 3

    asyncio.run(work())
    node.database.close()


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ((Gaussian(float("nan")),), "noise of an event is nan"),
        ((Gaussian(1e-300),), "division by zero"),
        ((Gaussian(1e300),), "out of range"),
        ((Gaussian(5.0),) * 1001, "it has 1,001 events"),
    ],
)
def test_one_node_s_nonsense_hides_no_other_s_ledger(tmp_path: Path, events: tuple[Event, ...], why: str) -> None:
    authority = Authority.create(tmp_path / "authority")
    ends = [
        (name, sign_head(LedgerHead(name, 1, "", "device", said), member(authority, tmp_path / name, name)))
        for name, said in (("client-0", events), ("client-1", (Gaussian(5.0),)))
    ]
    odd, sound = spent_budgets(ends, authority.root_pem)
    assert (odd.node, odd.epsilon, why in odd.problem) == ("client-0", None, True), odd.problem
    assert (sound.node, sound.problem) == ("client-1", "")
    assert sound.epsilon is not None

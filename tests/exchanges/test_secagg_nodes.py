"""Secure aggregation on real nodes, whose certificates vouch for their keys: the model is the plain mean's, also where
a node is killed in the middle."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from fogline.governance.identity.authority import Authority
from fogline.governance.identity.identity import Identity
from fogline.governance.subject import Subject
from fogline.network.cloud.records import Record
from fogline.network.node.exchanging import drawn_identity
from fogline.params import Params
from fogline.privacy.identity import LENGTH, doubt, proof_of, round_key
from tests.network.cluster import cluster, job
from tests.network.processes import Fleet, fleet
from tests.network.test_jobs import simulated

SECAGG = 'exchange = "secagg(threshold=0.5, weight=100.0, bits=64)"'
PLAIN = "quorum = 1.0"
KILLS = [
    ("client-0", "Entered", True),
    ("client-0", "Stepped", False),
    ("client-0", "Stepped", True),
    ("client-0", "Posted", False),
    ("fog", "Advanced", False),
    ("fog", "Advanced", True),
    ("fog", "Closed", False),
]


def text(exchange: str = SECAGG, fogs: int = 1) -> str:
    tiers = {"cloud": PLAIN, "fog": f"{PLAIN}\n{exchange}"} if fogs else {"cloud": f"{PLAIN}\n{exchange}"}
    return job(rounds=2, fogs=fogs, clients=3, **tiers)


def close(one: Params, other: Params) -> bool:
    """Apart by what rounding in the ring may do."""
    return bool(np.abs(one.vector - other.vector).max() < 1e-5) and bool(np.abs(other.vector).max() > 1e-2)


@pytest.mark.parametrize("fogs", [0, 1])
def test_a_job_under_secure_aggregation_gives_the_model_without(fogs: int, tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=fogs, devices=3) as made:
            record = await made.finish(await made.submit(text(fogs=fogs)))
            assert (record.state, record.why) == ("finished", ""), made.said(record)
            assert close(made.model(record), simulated(text("", fogs)).params), made.said(record)

    asyncio.run(work())


async def is_as_without(made: Fleet, record: Record) -> None:
    lines = [(line.what, line.child, line.why) for line in await made.lines(record)]
    assert (record.state, record.why) == ("finished", ""), lines
    assert close(made.model(record), simulated(text("")).params), lines


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "record", "after"), KILLS)
def test_a_node_that_dies_in_the_middle_changes_nothing(victim: str, record: str, after: bool, tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, devices=3) as made:
            made.kill(victim)
            made.start(victim, commit=(2, after, [record]))
            submitted = await made.submit(text())
            await made.died(victim)
            made.start(victim)
            await is_as_without(made, await made.finish(submitted))

    asyncio.run(work())


# Whose key it is.


def member(authority: Authority, folder: Path, name: str, role: str = "device") -> Identity:
    key = Identity.create_key(folder / name)
    subject = Subject(name, role)  # type: ignore[arg-type]
    return key.install(authority.issue(key.csr(), subject, days=1.0), authority.root_pem, subject)


def test_a_key_is_believed_to_be_its_owners_and_nobody_elses(tmp_path: Path) -> None:
    authority, stranger = Authority.create(tmp_path / "a"), Authority.create(tmp_path / "b")
    ana = drawn_identity(member(authority, tmp_path, "ana"))
    fog, eve = (drawn_identity(member(authority, tmp_path, *who)) for who in (("fog", "fog"), ("eve",)))
    fake = drawn_identity(member(stranger, tmp_path / "b", "ana"))
    _, public = round_key(ana.seed)
    assert doubt(ana.root, ana.at, ana.proof, "ana", public) == ""
    assert "another node" in doubt(ana.root, ana.at, ana.proof, "ben", public)
    assert "another node" in doubt(ana.root, ana.at, fog.proof, "fog", round_key(fog.seed)[1])
    assert "not hold now" in doubt(ana.root, ana.at + 2 * 86400, ana.proof, "ana", public)
    assert "not signed by this authority" in doubt(ana.root, ana.at, fake.proof, "ana", round_key(fake.seed)[1])
    # Eve's key in Ana's name, and a signature that Ana made for another key.
    assert "not signed by the key" in doubt(ana.root, ana.at, ana.proof, "ana", round_key(eve.seed)[1])
    length = int.from_bytes(ana.proof[:LENGTH], "big")
    mixed = proof_of(ana.proof[LENGTH : LENGTH + length], eve.proof[-70:])
    assert doubt(ana.root, ana.at, mixed, "ana", round_key(eve.seed)[1])
    assert doubt(ana.root, ana.at, b"", "ana", public)
    assert repr(ana) == "Identity(...)"  # A log must not have the secret.

"""An attacker at the page: each role tries each call that it may not make, past the page's server too, and others try
what a page of the board may: without its cookie, under another name, from another origin, with another method.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from fogline.dashboard.calls import CALLS
from fogline.dashboard.cloud import CloudBoard
from fogline.governance import roles
from fogline.governance.audit_log.audit_log import STREAM
from fogline.governance.roles import called, refusal
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import PEOPLE, Role, Subject
from fogline.network.cloud.folder import OWNER_KEY, SIGNING
from fogline.network.cloud.records import Record
from tests.dashboard.browser import Page, opened, until
from tests.dashboard.people import board_of
from tests.network.cluster import Cluster, cluster, job, within

JOB = job(rounds=1, fogs=0, clients=2)
WANTED: dict[str, dict[str, Any]] = {
    "stop": {"job": "JOB"},
    "clone": {"job": "JOB"},
    "resume": {"job": "JOB"},
    "steer": {"model": "toy", "action": "rollback"},
    "approval": {"job": "JOB"},
    "decide": {"job": "JOB", "bundle": "0" * 64, "verdict": "approve"},
    "policies": {},
    "budgets": {},
    "revoke": {"name": "client-0"},
    "token": {"role": "operator"},
    "audit": {},
}
"""What is sent with each call; a new one needs a line here."""
LOOKS_FIRST = {"clone", "resume"}
"""Calls that look, as the role may, for what is not there, or is not theirs to sign; the cloud's own call, ``Submit``,
is refused in the test of all calls."""


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cloud, a device, and a person of each role, with every key that a person may have."""
    with within(runner, cluster(tmp_path_factory.mktemp("permissions"), fogs=0, devices=1)) as made:
        for role in PEOPLE:
            folder = runner.run(made.join(f"a-{role}", role)).folder
            for key in (SIGNING, OWNER_KEY):
                SigningKey.create(folder / key, f"a-{role}")
        yield made


@pytest.fixture(scope="module")
def record(runner: asyncio.Runner, made: Cluster) -> Record:
    """A job of the operator's that waits for a second device, which never comes."""
    return runner.run(made.submit(JOB, wait=3600.0))


def board(made: Cluster, role: Role) -> CloudBoard:
    return board_of(made, made.folder / f"a-{role}" / "identity")


def wanted(call: str, record: Record) -> dict[str, Any]:
    """What is sent, about a job that there is."""
    return {key: record.job if value == "JOB" else value for key, value in WANTED[call].items()}


def forbidden(role: Role) -> dict[str, str]:
    """Calls of the page that a role may not make, and why."""
    person = Subject(f"a-{role}", role)
    found = {name: refusal(person, f"Operator/{call}") for name, call in CALLS.items()}
    return {name: why for name, why in found.items() if why is not None}


def recorded(made: Cluster) -> int:
    """How much the cloud has done."""
    return sum(1 for _ in made.cloud.node.database.read(STREAM))


async def asked(page: Page, call: str, record: Record) -> tuple[int, Any]:
    return await asyncio.to_thread(page.ask, call, wanted(call, record))


def test_every_call_of_the_page_is_one_of_the_table() -> None:
    assert set(WANTED) == set(CALLS)
    assert {f"Operator/{call}" for call in CALLS.values()} <= set(roles.CALLS)
    assert all(forbidden(role) for role in PEOPLE)


@pytest.mark.parametrize("role", PEOPLE)
def test_the_page_s_server_refuses_every_call_that_the_role_may_not_make(
    role: Role, runner: asyncio.Runner, made: Cluster, record: Record
) -> None:
    async def work() -> None:
        own = board(made, role)
        refused = forbidden(role)
        assert set(own.about.calls) == set(own.answers()) == set(CALLS) - set(refused)
        async with opened(own) as page:
            await until(own, lambda said: "nodes/fleet" in said)
            before = recorded(made)
            for call in refused:
                status, said = await asked(page, call, record)
                assert (status, "not yours to make" in said["error"]) == (404, True), call
            # No other call of the cloud's is to be had by this way either, whatever it is called.
            for name in roles.CALLS:
                for path in {name, name.rpartition("/")[2], quote(name, safe="")} - set(CALLS):
                    status = await asyncio.to_thread(lambda path=path: page.send("POST", f"/api/ask/{path}", {}).status)
                    assert status == 404, path
            assert recorded(made) == before

    runner.run(work())


@pytest.mark.parametrize("role", PEOPLE)
def test_a_page_s_server_that_was_changed_gets_no_further(
    role: Role, runner: asyncio.Runner, made: Cluster, record: Record
) -> None:
    """Somebody takes the refusals out of the own server: it has every call, and says nothing against it."""

    async def work() -> None:
        own = board(made, role)
        own.about = msgspec.structs.replace(own.about, calls=tuple(CALLS))
        async with opened(own) as page:
            await until(own, lambda said: "nodes/fleet" in said)
            before = recorded(made)
            for call in set(forbidden(role)) - LOOKS_FIRST:
                status, said = await asked(page, call, record)
                sentence = rf"a-{role} is an? {called(role)}; only .* may "
                assert (status, bool(re.match(sentence, said["error"]))) == (400, True), (call, said)
            assert recorded(made) == before
        assert [node.name for node in await made.client.nodes() if node.up] == ["client-0"]
        (after,) = await made.client.jobs(record.job)
        assert (after.ended, after.stop, after.approvals) == (False, "", ())

    runner.run(work())


def test_a_developer_ends_no_job_of_another(runner: asyncio.Runner, made: Cluster, record: Record) -> None:
    async def work() -> None:
        own = board(made, "developer")
        async with opened(own) as page:
            known = await until(own, lambda said: f"run/{record.job}" in said and said)
            assert not known[f"run/{record.job}"]["stoppable"]
            status, said = await asked(page, "stop", record)
            assert (status, "may stop jobs only of its own; this is operator's" in said["error"]) == (400, True)

    runner.run(work())


STRANGERS: list[tuple[str, str, dict[str, str], int]] = [
    ("without a cookie", "POST", {"Cookie": ""}, 401),
    ("with a cookie of another board", "POST", {"Cookie": "fogline-1=guessed"}, 401),
    ("under another name", "POST", {"Host": "evil.example"}, 421),
    ("from another page", "POST", {"Origin": "http://evil.example"}, 403),
    ("from no page", "POST", {"Origin": ""}, 403),
    ("as a form", "POST", {"Content_Type": "text/plain"}, 415),
    ("as a link", "GET", {}, 405),
    ("as what some servers take for a change", "PUT", {"Origin": "", "Content_Type": ""}, 403),
]


@pytest.mark.parametrize(("how", "method", "headers", "status"), STRANGERS, ids=[one[0] for one in STRANGERS])
@pytest.mark.parametrize("role", ["operator", "owner"])
def test_every_call_is_for_the_board_s_own_page_only(
    how: str,
    method: str,
    headers: dict[str, str],
    status: int,
    role: Role,
    runner: asyncio.Runner,
    made: Cluster,
    record: Record,
) -> None:
    async def work() -> None:
        own = board(made, role)
        async with opened(own) as page:
            await until(own, lambda said: "nodes/fleet" in said)
            before = recorded(made)
            for call in own.about.calls:
                body = wanted(call, record)
                answer = await asyncio.to_thread(page.send, method, f"/api/ask/{call}", body, **headers)
                assert answer.status == status, (how, call)
            assert recorded(made) == before

    runner.run(work())

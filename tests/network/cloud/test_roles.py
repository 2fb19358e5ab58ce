"""What each role may do: every call of the operator's interface, and of nodes, with every role."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from fogline.cli import main
from fogline.cli.commands.roles import REACHES, who_may
from fogline.governance.identity.identity import Identity
from fogline.governance.roles import CALLS, called, refusal
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import JOINING, PEOPLE, Role, Subject
from fogline.network.cloud.api.model_api import ModelApi, narrowed
from fogline.network.cloud.api.operator_api import OperatorApi
from fogline.network.cloud.client import OperatorApiError, connect
from fogline.network.cloud.folder import FACTS, OWNER_KEY, SIGNING, OperatorFacts
from fogline.network.cloud.release_source import ReleaseSource
from fogline.network.cloud.requests import NewToken
from fogline.network.node.enrolment import join
from fogline.network.node.process import NodeFolder
from fogline.network.transport.grpc import dial
from fogline.network.transport.messages import OPERATOR_SERVICE, SERVICE, ParentAddress
from fogline.network.transport.permissions import permitted
from fogline.registry.model_report import ModelReport
from fogline.registry.release import Outcome
from tests.network.cluster import HERE, Cluster, cluster, job, submit, within
from tests.patience import PATIENCE

MEMBERS = JOINING
JOB = job(rounds=1, fogs=0, clients=1)


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cloud, a device that runs, and an identity of every role."""
    with within(runner, cluster(tmp_path_factory.mktemp("roles"), fogs=0, devices=1)) as made:
        for role in MEMBERS:
            runner.run(made.join(f"a-{role}", role))
        runner.run(made.join("b-developer", "developer"))
        yield made


def names_of(made: Cluster) -> dict[str, set[str]]:
    """The calls that the cloud answers, by service."""
    node, scheduler, fleet = made.cloud.node, made.cloud.scheduler, made.cloud.fleet
    registrar, downlink, source = made.cloud.registrar, node.downlink, node.releases
    assert scheduler is not None
    assert fleet is not None
    assert isinstance(source, ReleaseSource)
    assert registrar is not None
    assert downlink is not None
    operator_api = {**OperatorApi(scheduler, fleet, registrar, downlink).methods()}
    operator_api |= ModelApi(source.publisher, node.value_store.blobs, downlink, node.audit).methods()
    return {OPERATOR_SERVICE: set(operator_api), SERVICE: {*downlink.methods(), "Enrol", "Renew"}}


def test_every_call_has_its_roles(made: Cluster) -> None:
    answered = {f"{service.rpartition('.')[2]}/{name}" for service, names in names_of(made).items() for name in names}
    assert answered == set(CALLS)
    with pytest.raises(KeyError):
        permitted(OPERATOR_SERVICE, {"Anything": grpc.unary_unary_rpc_method_handler(lambda _, __: b"")}, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", MEMBERS)
def test_every_call_refuses_every_role_that_may_not_make_it(role: Role, runner: asyncio.Runner, made: Cluster) -> None:
    """What is sent is no request: who may ask is told that, and nobody else hears anything of it."""
    identity = Identity.load(made.folder / f"a-{role}" / "identity")

    async def answer(channel: grpc.aio.Channel, method: str) -> tuple[grpc.StatusCode, str]:
        call = channel.stream_stream(method)()
        try:
            async with asyncio.timeout(PATIENCE):
                await call.write(b"\xc1")
                await call.done_writing()
                while isinstance(await call.read(), bytes):
                    pass
                return await call.code(), await call.details()
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""

    async def work() -> None:
        async with dial(identity, made.cloud.address, "cloud") as channel:
            for service, names in names_of(made).items():
                for name in sorted(names):
                    code, words = await answer(channel, f"/{service}/{name}")
                    call = f"{service.rpartition('.')[2]}/{name}"
                    refused = refusal(Subject(f"a-{role}", role), call)
                    assert (code == grpc.StatusCode.PERMISSION_DENIED) == (refused is not None), (call, code, words)
                    if refused is not None:
                        assert words == refused
                        assert re.match(rf"a-{role} is an? {called(role)}; only ", words)

    runner.run(work())


def test_a_developer_makes_no_operators_and_revokes_nobody(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        async with _client(made, "a-developer") as client:
            with pytest.raises(OperatorApiError, match="a-developer is a developer; only operators may make tokens"):
                await client.token(NewToken("operator"))
            with pytest.raises(OperatorApiError, match="only operators may revoke nodes"):
                await client.revoke("a-operator")

    runner.run(work())


def test_a_developer_stops_and_fetches_what_is_his_own(runner: asyncio.Runner, made: Cluster, tmp_path: Path) -> None:
    async def work() -> None:
        async with _client(made, "a-developer") as own, _client(made, "b-developer") as other:
            record = await made.finish(await submit(own, made.folder, JOB))
            assert (record.state, record.by) == ("finished", "a-developer")
            mine = "b-developer is a developer and may stop jobs only of its own; this is a-developer's"
            with pytest.raises(OperatorApiError, match=mine):
                await other.stop(record.job)
            with pytest.raises(OperatorApiError, match="may fetch a job's result only of its own"):
                await other.result(record.job, tmp_path / "other")
            assert not (tmp_path / "other").exists()
            assert (await own.stop(record.job)).state == "finished"
            assert (await made.client.stop(record.job)).state == "finished"
            for name, client in (("own", own), ("operator", made.client)):
                found = await client.result(record.job, tmp_path / name)
                for file in ("model.safetensors", "metrics.jsonl", "job.toml", "run.json"):
                    there = (made.folder / "cloud" / "runs" / record.job / file).read_bytes()
                    assert (tmp_path / name / file).read_bytes() == there
                assert found.files[-1].path == "run.json"
            waiting = await submit(own, made.folder, JOB.replace('name = "toy"', 'name = "later"'), wait=60.0)
            await own.stop(waiting.job)

    runner.run(work())


def test_the_documents_have_the_same_table() -> None:
    """One line a call: what it does, who may do it, what of it somebody may who is limited to nodes, and by which
    command."""
    text = (Path(__file__).parents[3] / "docs" / "governance.md").read_text()
    for name, call in CALLS.items():
        if name.startswith("Operator/"):
            command = f"`{call.command}`" if call.command else ""
            assert f"| {call.what} | {', '.join(who_may(call))} | {REACHES[call.reach]} | {command} |" in text, name


ARGUMENTS: dict[str, tuple[str, ...]] = {
    "jobs submit": ("job.toml",),
    "jobs list": (),
    "jobs logs": ("JOB",),
    "jobs stop": ("JOB",),
    "jobs forget": ("JOB",),
    "nodes forget": ("client-0",),
    "cloud move": ("127.0.0.1:7",),
    "jobs result": ("JOB", "--to", "result"),
    "audit export": ("--to", "cloud.audit"),
    "approvals list": (),
    "approvals show": ("JOB",),
    "approvals approve": ("JOB", "--yes"),
    "policy publish": ("policy.toml",),
    "policy show": (),
    "privacy ledgers": (),
    "nodes list": (),
    "nodes revoke": ("client-0",),
    "token create": (),
    "models list": (),
    "models export": ("toy",),
    "models import": ("job.toml",),
    "models rollback": ("toy",),
    "models link": ("toy", "large", "--budget", "0.3"),
    "models retrain": ("toy", "--psi", "0.25"),
    "models keys list": (),
}
"""How each command is called that asks the cloud; a new one needs a line here."""
LOOKS_FIRST = {"models export"}
"""Commands that look, as the role may, for what is not there; the call itself is refused in the test above."""


def test_every_command_refuses_every_role_that_may_not_give_it(
    runner: asyncio.Runner,
    made: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As people give it, in one process with the cloud."""
    assert {call.command for call in CALLS.values() if call.command} == set(ARGUMENTS)
    monkeypatch.chdir(tmp_path)
    shutil.copy(HERE / "small.py", tmp_path)
    (tmp_path / "job.toml").write_text(JOB)
    (tmp_path / "policy.toml").write_text("")
    record = runner.run(made.submit(JOB, wait=60.0))
    for role in PEOPLE:
        folder = made.folder / f"a-{role}"
        (folder / FACTS).write_bytes(msgspec.json.encode(OperatorFacts("cloud", made.cloud.address)))
        for key in (SIGNING, OWNER_KEY):
            SigningKey.create(folder / key, f"a-{role}")
        for call in CALLS.values():
            if not call.command or call.command in LOOKS_FIRST or role in call.roles | call.own:
                continue
            given = [record.job if one == "JOB" else one for one in ARGUMENTS[call.command]]
            with pytest.raises(SystemExit) as ended:
                runner.run(asyncio.to_thread(main, [*call.command.split(), *given, "--cloud", str(folder)]))
            said = capsys.readouterr().err
            assert ended.value.code == 2, (role, call.command, said)
            assert re.search(rf"a-{role} is an? {called(role)}; only .* may ", said), (role, call.command, said)
    runner.run(made.client.stop(record.job))
    assert [node.name for node in runner.run(made.client.nodes()) if node.up] == ["client-0"]


def test_a_role_that_is_limited_to_nodes_ends_there(runner: asyncio.Runner, made: Cluster) -> None:
    """It makes no others either, and its jobs are offered to no other node."""

    async def limited(role: Role) -> str:
        name = f"limited-{role}"
        token = await made.client.token(NewToken(role, nodes=("press-*",)))
        door = ParentAddress("cloud", made.cloud.enrolment)
        await join(door, token, name, role, NodeFolder(made.folder / name).identity)
        return name

    async def work() -> None:
        async with _client(made, await limited("operator")) as client:
            assert await client.nodes() == []
            for asked in (NewToken("device"), NewToken("device", names="p*"), NewToken("operator", names="press-*")):
                with pytest.raises(OperatorApiError, match="limited to"):
                    await client.token(asked)
            await client.token(NewToken("device", names="press-1*"))
            with pytest.raises(OperatorApiError, match="may not revoke nodes beyond these, and this concerns client-0"):
                await client.revoke("client-0")
            with pytest.raises(OperatorApiError, match="which is of the whole fleet"):
                await client.retrain("toy", 0.25, 60.0)
        async with _client(made, await limited("developer")) as client:
            record = await submit(client, made.folder, JOB, wait=60.0)
            line = await made.until(record, "not offered")
            assert (line.child, record.nodes) == ("client-0", ("press-*",))
            assert "The job is for the nodes press-*" in line.why
            seen = [one async for one in client.watch(record.job, follow=False)]
            assert not [one for one in seen if one.child == "client-0"]
            await client.stop(record.job)

    runner.run(work())


def test_who_is_revoked_hears_no_more_of_what_he_follows(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        await made.join("leaver", "auditor")
        record = await made.submit(job(rounds=10_000, fogs=0, clients=1))
        async with _client(made, "leaver") as client:
            news, lines = aiter(client.follow()), aiter(client.watch(record.job))
            await anext(news)
            await anext(lines)
            await made.client.revoke("leaver")
            for told in (news, lines):
                with pytest.raises(OperatorApiError, match="revoked"):
                    async for _ in told:  # What was on its way arrives; the job goes on and on.
                        pass
        await made.client.stop(record.job)

    async def patient() -> None:
        async with asyncio.timeout(PATIENCE):
            await work()

    runner.run(patient())


def test_what_is_told_of_models_names_no_nodes_beyond_a_role_s() -> None:
    outcomes = tuple(Outcome(name, "toy", 1, 1, "committed") for name in ("press-1", "saw-1"))
    report = ModelReport("toy", (), outcomes=outcomes)
    for patterns, seen in ((("press-*",), ["press-1"]), (("x",), []), ((), ["press-1", "saw-1"])):
        told = narrowed(report, Subject("zoe", "owner", nodes=patterns))
        assert [outcome.node for outcome in told.outcomes] == seen


def _client(made: Cluster, name: str) -> Any:
    return connect(made.folder / name / "identity", "cloud", made.cloud.address)

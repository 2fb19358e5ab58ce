"""What each role may do: every call of the operator's interface, and of nodes, with every role."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fogline.governance.identity.identity import Identity
from fogline.governance.roles import CALLS, refusal
from fogline.governance.subject import Role, Subject
from fogline.network.cloud.client import OperatorApiError, connect
from fogline.network.cloud.model_api import ModelApi
from fogline.network.cloud.operator_api import OperatorApi
from fogline.network.cloud.release_source import ReleaseSource
from fogline.network.cloud.requests import NewToken
from fogline.network.transport.grpc import dial
from fogline.network.transport.messages import OPERATOR_SERVICE, SERVICE
from fogline.network.transport.permissions import permitted
from tests.network.cluster import Cluster, cluster, job, submit, within
from tests.patience import PATIENCE

MEMBERS: tuple[Role, ...] = ("operator", "developer", "auditor", "fog", "device")
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
                        assert f"a-{role} is a{'n' if role[0] in 'ao' else ''} {role}; only " in words

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
    """One line a call: what it does, who may do it."""
    text = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text()
    for name, call in CALLS.items():
        if name.startswith("Operator/"):
            roles = [f"{role}{' (own)' if role in call.own else ''}" for role in sorted(call.roles | call.own)]
            assert f"| {call.what} | {', '.join(roles)} |" in text, name


def _client(made: Cluster, name: str) -> Any:
    return connect(made.folder / name / "identity", "cloud", made.cloud.address)

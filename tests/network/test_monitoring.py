"""What nodes show of themselves: metrics, whether they are well, whether they are ready."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fogline.cli.failures import UsageError
from fogline.cli.options import Monitoring
from fogline.cli.running import Endpoint
from fogline.monitoring.metrics import exposition, process
from fogline.monitoring.metrics.exposition import Family, MetricSample
from fogline.network.cloud import metrics as of_cloud
from fogline.network.cloud.records import JobProgress, Record
from fogline.network.node.monitor import metrics as of_node
from fogline.network.node.monitor.endpoint import monitored
from fogline.network.node.monitor.http import LARGEST, MOST
from fogline.network.node.monitor.watch import Watch
from fogline.network.node.process import RunningNode
from fogline.network.transport.messages import Blob, JobLog
from tests.network.cluster import cluster, job
from tests.patience import PATIENCE

Found = dict[str, dict[tuple[str, ...], float]]
"""Values by name and labels."""
KNOWN = {family.name: family for family in (*of_node.FAMILIES, *of_cloud.FAMILIES, *process.FAMILIES)}


async def ask(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of an answer."""
    answer = await raw(address, f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def raw(address: str, request: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionError:  # It was closed before all was read.
            return b""
        finally:
            writer.close()


async def measured(address: str) -> Found:
    """All metrics, each of which is one that is known, with the labels that it has."""
    status, text = await ask(address, "/metrics")
    assert status == 200, text
    found: Found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            known = KNOWN[sample.name]
            assert (known.kind, known.labels) == (family.type, tuple(sample.labels)), sample
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def watched(stack: AsyncExitStack, up: RunningNode) -> str:
    """Where a node that runs shows its metrics from here on."""
    watch = Watch(lambda _: None)
    up.node.on_change = watch
    return await stack.enter_async_context(monitored(up, watch, ("127.0.0.1", 0)))


def test_a_tree_that_trains_shows_on_every_node(tmp_path: Path) -> None:
    async def play() -> tuple[list[Found], list[Found]]:
        async with cluster(tmp_path, fogs=1, devices=2) as made, AsyncExitStack() as stack:
            ups = [made.cloud, made.members["fog"], made.members["client-0"]]
            addresses = [await watched(stack, up) for up in ups]
            record = await made.submit(job(rounds=3, fogs=1, clients=2, task="slow = 0.2"))
            await made.until(record, "round")
            during = [await measured(address) for address in addresses]
            await made.finish(record)
            return during, [await measured(address) for address in addresses]

    (cloud, fog, device), after = asyncio.run(play())
    (running,) = cloud["fogline_job_round"]
    assert cloud["fogline_job_round"][running] >= 1
    assert cloud["fogline_job_rounds"][running] == 3
    assert cloud["fogline_job_devices"][running] == 2
    assert cloud["fogline_job_headline"][*running, "accuracy"] >= 0
    assert cloud["fogline_cloud_nodes"]["device", "up"] == 2
    assert cloud["fogline_cloud_jobs"][("running",)] == 1
    assert cloud["fogline_node_children"] == {("fog",): 1, ("device",): 0}
    assert fog["fogline_node_children"] == {("fog",): 0, ("device",): 2}
    assert (fog["fogline_node_connected"][()], fog["fogline_node_jobs"][()]) == (1, 1)
    assert device["fogline_node_trainings_total"][()] >= 1
    assert "fogline_node_children" not in device
    names = [next(iter(found["fogline_node_info"]))[:2] for found in (cloud, fog, device)]
    assert names == [("cloud", "cloud"), ("fog", "fog"), ("client-0", "device")]
    for found in (cloud, fog, device):
        assert found["fogline_node_certificate_expiry_timestamp_seconds"][()] > found["process_start_time_seconds"][()]
        assert 0 < found["fogline_node_disk_free_bytes"][()] <= found["fogline_node_disk_size_bytes"][()]
    assert "fogline_job_round" not in after[0]
    assert after[0]["fogline_cloud_jobs"][("finished",)] == 1
    assert after[2]["fogline_node_trainings_total"][()] >= 3


def test_who_has_no_parent_is_well_but_not_ready(tmp_path: Path) -> None:
    async def play() -> None:
        async with cluster(tmp_path, fogs=1, devices=1) as made, AsyncExitStack() as stack:
            device = await watched(stack, made.members["client-0"])
            async with asyncio.timeout(PATIENCE):
                while (await ask(device, "/readyz"))[0] != 200:
                    await asyncio.sleep(0.05)
            await made.stop("fog")
            async with asyncio.timeout(PATIENCE):
                while (await ask(device, "/readyz"))[0] == 200:
                    await asyncio.sleep(0.05)
            assert await ask(device, "/readyz") == (503, "client-0 has no connection to a parent\n")
            assert await ask(device, "/healthz") == (200, "ok\n")
            assert (await measured(device))["fogline_node_connections_lost_total"][()] == 1
            made.members["client-0"].failed.set_exception(ValueError("it was revoked"))
            for path in ("/healthz", "/readyz"):
                assert await ask(device, path) == (503, "client-0 cannot go on: it was revoked\n")

    asyncio.run(play())


def test_only_requests_for_pages_are_answered(tmp_path: Path) -> None:
    async def play() -> None:
        async with cluster(tmp_path, fogs=0, devices=0) as made, AsyncExitStack() as stack:
            address = await watched(stack, made.cloud)
            assert await ask(address, "/healthz?x=1") == (200, "ok\n")
            assert await ask(address, "/healthz", "HEAD") == (200, "")
            assert (await ask(address, "/metrics", "POST"))[0] == 405
            assert await ask(address, "/") == (404, "There are /metrics, /healthz, /readyz.\n")
            assert await raw(address, b"GET /" + b"x" * 2 * LARGEST + b"\r\n\r\n") == b""
            host, _, port = address.rpartition(":")
            idle = [await asyncio.open_connection(host, int(port)) for _ in range(MOST)]
            async with asyncio.timeout(PATIENCE):
                while await raw(address, b"GET /healthz HTTP/1.1\r\n\r\n"):
                    await asyncio.sleep(0.01)
            for _, writer in idle:
                writer.close()
            async with asyncio.timeout(PATIENCE):
                while not await raw(address, b"GET /healthz HTTP/1.1\r\n\r\n"):
                    await asyncio.sleep(0.01)

    asyncio.run(play())


def test_metrics_that_cannot_be_read_are_no_metrics(tmp_path: Path) -> None:
    async def play() -> None:
        async with cluster(tmp_path, fogs=0, devices=1) as made, AsyncExitStack() as stack:
            address = await watched(stack, made.members["client-0"])
            policy = tmp_path / "client-0" / "policy.toml"
            policy.write_text(policy.read_text() + "[privacy]\nepsilon = 3.0\ndelta = 1e-5\n")
            found = await measured(address)
            assert found["fogline_node_privacy_spent_epsilon"][()] == 0
            assert found["fogline_node_privacy_limit_epsilon"][()] == 3
            policy.write_text("[privacy")
            status, text = await ask(address, "/metrics")
            assert status == 500
            assert "policy.toml" in text

    asyncio.run(play())


def test_what_a_node_calls_a_mishap_is_no_new_label(tmp_path: Path) -> None:
    async def play() -> Found:
        async with cluster(tmp_path, fogs=0, devices=2) as made, AsyncExitStack() as stack:
            address = await watched(stack, made.cloud)
            record = await made.submit(job(rounds=30, fogs=0, clients=2, task="slow = 0.2"))
            await made.until(record, "began")
            for i in range(50):
                made.cloud.node.tell(JobLog(record.job, "client-0", f"invented {i}"))
            made.cloud.node.tell(JobLog(record.job, "client-0", "failed", amount=2))
            found = await measured(address)
            await made.client.stop(record.job, "discard")
            await made.finish(record)
            return found

    found = asyncio.run(play())["fogline_job_mishaps_total"]
    kinds = {kind: count for (_, kind), count in found.items()}
    assert (kinds["other"], kinds["failed"]) == (50, 2)
    assert kinds.keys() <= of_cloud.KINDS | {"other"}


def progress(values: list[float | None], higher_is_better: bool = True) -> JobProgress:
    blob = Blob("0" * 64, 0)
    record = Record("j", "j", "running", 0, 1, "ana", "", blob, 0.0, headline="m", higher_is_better=higher_is_better)
    return JobProgress(record, [{} if value is None else {"m": value} for value in values], 0.0, {}, None)


@pytest.mark.parametrize(
    ("values", "higher", "rounds"),
    [
        ([0.1, 0.2, 0.3], True, 0),
        ([0.1, 0.3, 0.2, 0.1], True, 2),
        ([0.1, None, 0.3], False, 1),
        ([0.1, math.nan, math.nan], True, 2),
        ([math.nan, math.inf], False, 2),
    ],
)
def test_rounds_since_the_best_one(values: list[float | None], higher: bool, rounds: int) -> None:
    one = progress(values, higher)
    assert of_cloud.since_best(one, of_cloud.judged_of(one)) == rounds


def test_labels_and_figures_are_as_prometheus_reads_them() -> None:
    family = Family("x", "gauge", "An x", ("a",))
    samples = [
        MetricSample(value, (f'"{i}\\\n',)) for i, value in enumerate((True, 2, 0.5, math.inf, -math.inf, math.nan))
    ]
    (read,) = text_string_to_metric_families(exposition.as_text([(family, samples)]).decode())
    assert [sample.labels["a"] for sample in read.samples] == [sample.labels[0] for sample in samples]
    assert [sample.value for sample in read.samples[:5]] == [1, 2, 0.5, math.inf, -math.inf]
    assert math.isnan(read.samples[5].value)
    assert exposition.as_text([(family, [])]) == b""


class TestEndpoint:
    def test_each_role_has_a_port_on_this_machine_only(self) -> None:
        assert Endpoint.of(Monitoring(), "fog", attached=False) == Endpoint("127.0.0.1:7455", chosen=False)
        assert Endpoint.of(Monitoring(metrics="10.0.0.1:9"), "fog", attached=True) == Endpoint(
            "10.0.0.1:9", chosen=True
        )

    def test_a_node_of_another_program_shows_nothing_unasked(self) -> None:
        assert Endpoint.of(Monitoring(), "device", attached=True) is None
        assert Endpoint.of(Monitoring(metrics="none"), "device", attached=False) is None
        with pytest.raises(UsageError, match="no address"):
            Endpoint.of(Monitoring(metrics="everywhere"), "device", attached=False)

    def test_a_taken_port_stops_only_who_has_named_it(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        async def play() -> None:
            async with cluster(tmp_path, fogs=0, devices=0) as made, AsyncExitStack() as stack:
                taken = await watched(stack, made.cloud)
                watch = Watch(lambda _: None)
                with pytest.raises(OSError, match="choose another with --metrics"):
                    await Endpoint(taken, chosen=True).open(stack, made.cloud, watch)
                await Endpoint(taken, chosen=False).open(stack, made.cloud, watch)

        with caplog.at_level("WARNING"):
            asyncio.run(play())
        assert "cloud shows no metrics: nobody can listen at" in caplog.text

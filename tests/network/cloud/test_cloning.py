"""A job once more: by who may submit, of what he may read, signed with his own key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fogline.cli import main
from fogline.governance.bundles.bundle import open_bundle
from fogline.governance.signatures.signing import SigningKey
from fogline.inference.card import Card, Lineage
from fogline.jobs.errors import JobError
from fogline.jobs.files.reading import parse_job
from fogline.network.cloud.client import OperatorApiError, bundle_of, connect
from fogline.network.cloud.cloning import clone, resume
from fogline.network.cloud.records import JobState, Record
from fogline.network.cloud.requests import Submit
from fogline.network.transport.messages import Blob
from fogline.registry.model_report import ModelReport
from tests.network.cluster import HERE, Cluster, cluster, job, submit, within

JOB = job(rounds=2, fogs=0, clients=1)


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cloud, a device and people."""
    with within(runner, cluster(tmp_path_factory.mktemp("clones"), fogs=0, devices=1)) as made:
        for name, role in (("ana", "developer"), ("bo", "developer"), ("ann", "auditor"), ("ines", "owner")):
            runner.run(made.join(name, role))
        yield made


def as_person(made: Cluster, name: str) -> Any:
    return connect(made.folder / name / "identity", "cloud", made.cloud.address)


def operators_key(made: Cluster) -> SigningKey:
    return SigningKey.load(made.folder / "cloud" / "operator" / "developer.key")


def test_a_clone_has_the_same_code_and_other_keys_signed_by_who_made_it(
    runner: asyncio.Runner, made: Cluster, tmp_path: Path
) -> None:
    async def work() -> None:
        first = await made.finish(await made.submit(JOB))
        key = operators_key(made)
        second = await clone(made.client, first.job, key, ["rounds=1", "seed=7"])
        assert second.job != first.job
        assert (second.by, second.priority, second.planned) == ("operator", first.priority, first.planned)
        before, after = parse_job(first.text), parse_job(second.text)
        assert (after.rounds, after.seed) == (1, 7)
        assert after.model_copy(update={"rounds": before.rounds, "seed": before.seed}) == before
        opened = []
        for record in (first, second):
            await made.client.fetch(record.bundle, tmp_path / record.job)
            opened.append(open_bundle(tmp_path / record.job))
        assert opened[0].manifest.code == opened[1].manifest.code
        assert opened[1].signer == key.signer
        assert (await made.finish(second)).state == "finished"

    runner.run(work())


def test_what_makes_no_job_is_not_submitted(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        first = await made.finish(await made.submit(JOB))
        count = len(await made.client.jobs())
        with pytest.raises(JobError, match="rounds"):
            await clone(made.client, first.job, operators_key(made), ["rounds=-1"])
        with pytest.raises(OperatorApiError, match="no job 'nothing'"):
            await clone(made.client, "nothing", operators_key(made))
        assert len(await made.client.jobs()) == count

    runner.run(work())


def test_the_code_of_a_job_that_is_over_is_its_developer_s_and_the_operator_s(
    runner: asyncio.Runner, made: Cluster, tmp_path: Path
) -> None:
    async def work() -> None:
        async with as_person(made, "ana") as ana:
            record = await made.finish(await submit(ana, made.folder, JOB))
            await ana.fetch(record.bundle, tmp_path / "ana")
        await made.client.fetch(record.bundle, tmp_path / "operator")
        for name in ("bo", "ann", "ines", "client-0"):
            async with as_person(made, name) as client:
                with pytest.raises(OperatorApiError, match=rf"{name} may fetch the code of .*jobs that are not over"):
                    await client.fetch(record.bundle, tmp_path / name)
            assert not (tmp_path / name).exists()
        async with as_person(made, "bo") as bo:
            with pytest.raises(OperatorApiError, match="may fetch the code of its own jobs"):
                await clone(bo, record.job, operators_key(made))

    runner.run(work())


def test_nobody_submits_the_bundle_of_another_s_job(runner: asyncio.Runner, made: Cluster, tmp_path: Path) -> None:
    """Under his own name it would be his, to read and to run, with the other's signature."""

    async def work() -> None:
        async with as_person(made, "ana") as ana, as_person(made, "bo") as bo:
            record = await made.finish(await submit(ana, made.folder, JOB))
            count = len(await made.client.jobs())
            with pytest.raises(OperatorApiError, match=f"that bundle is of ana's job {record.job}; sign its code"):
                await bo._ask("Submit", Submit(JOB, record.bundle), Record)
            with pytest.raises(OperatorApiError, match="bo may fetch the code of its own jobs"):
                await bo.fetch(record.bundle, tmp_path / "bo")
            assert len(await made.client.jobs()) == count
            assert (await ana._ask("Submit", Submit(record.text, record.bundle), Record)).by == "ana"

    runner.run(work())


def test_a_job_is_cloned_on_the_command_line(
    runner: asyncio.Runner, made: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        first = await made.finish(await made.submit(JOB))
        cloud = ("--cloud", str(made.folder / "cloud"))
        await asyncio.to_thread(main, ["jobs", "clone", first.job, "--set", "rounds=1", *cloud])
        said = capsys.readouterr().out
        last = (await made.client.jobs())[-1]
        assert said.startswith(f"Job {last.job} is in the queue, signed by operator.\n")
        assert (await made.finish(last)).done == 1
        with pytest.raises(SystemExit):
            await asyncio.to_thread(main, ["jobs", "resume", first.job, *cloud])
        assert "has left no version of its model" in capsys.readouterr().err

    runner.run(work())


class Told:
    """A cloud that has one job, and what came of it.

    Args:
        record: the job.
        bundle: its code.
        versions: of its model, with the rounds that each had.
    """

    def __init__(self, record: Record, bundle: bytes, versions: Mapping[int, int]) -> None:
        self.record, self.bundle = record, bundle
        cards = [
            Card(
                model="toy",
                version=version,
                created=0.0,
                inputs=(),
                outputs=(),
                metrics={},
                lineage=Lineage(job=record.job, rounds=rounds),
            )
            for version, rounds in versions.items()
        ]
        self.reports = [ModelReport("toy", tuple(cards))] if cards else []
        self.submitted = ""

    async def jobs(self, _: str) -> list[Record]:
        return [self.record]

    async def models(self) -> list[ModelReport]:
        return self.reports

    async def fetch(self, _: Blob, path: Path) -> None:
        path.write_bytes(self.bundle)

    async def submit(self, text: str, *_: Any) -> Record:
        self.submitted = text
        return self.record


def told(tmp_path: Path, state: JobState, versions: Mapping[int, int]) -> tuple[Any, SigningKey]:
    """A cloud with a job of 12 rounds, and a developer's key."""
    key = SigningKey.create(tmp_path / "developer.key", "ana")
    text = job(rounds=12, fogs=0, clients=1)
    record = Record("toy-1", "toy", state, 0, 1, "ana", text, Blob("0" * 64, 1), 0.0, rounds=12, done=9)
    return Told(record, bundle_of(text, HERE, [HERE / "small.py"], key), versions), key


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_job_that_ended_early_goes_on_from_the_newest_version_that_it_left(tmp_path: Path, state: JobState) -> None:
    client, key = told(tmp_path, state, {7: 9, 6: 5})
    asyncio.run(resume(client, "toy-1", key, ["seed=3"]))
    again = parse_job(client.submitted)
    assert (again.start, again.rounds, again.seed) == ("toy@7", 12 - 9, 3)


@pytest.mark.parametrize(
    ("state", "versions", "why"),
    [
        ("running", {7: 9}, "is not over: it is running"),
        ("stopped", {}, r"has left no version .* jobs stop --publish"),
        ("finished", {7: 12}, "has made all its 12 rounds"),
    ],
)
def test_what_cannot_go_on_is_not_submitted(
    tmp_path: Path, state: JobState, versions: Mapping[int, int], why: str
) -> None:
    client, key = told(tmp_path, state, versions)
    with pytest.raises(JobError, match=why):
        asyncio.run(resume(client, "toy-1", key))
    assert client.submitted == ""


@pytest.mark.parametrize("how", [clone, resume])
def test_nobody_signs_code_of_another_key_without_knowing_it(tmp_path: Path, how: Any) -> None:
    """Whose code a job has, there is only the cloud's word: one that was broken into would have its own code signed."""
    client, mallory = told(tmp_path, "stopped", {7: 9})
    own = SigningKey.create(tmp_path / "own.key", "ana")
    for signed_by in ("", own.signer.key):
        with pytest.raises(JobError) as refused:
            asyncio.run(how(client, "toy-1", own, (), signed_by))
        assert "toy-1 was signed by ana with another key than yours" in str(refused.value)
        assert str(refused.value).endswith(f"--signed-by {mallory.signer.key}")
    assert client.submitted == ""
    asyncio.run(how(client, "toy-1", own, (), mallory.signer.key))
    assert client.submitted

"""Entries that stay on devices, over real sockets: the simulator's bits, and no byte of them on any link."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from fogline.monitoring.folder import RunFolder
from fogline.network.node.values import ValueStore
from fogline.network.transport.session import Session
from fogline.network.transport.uplink import Uplink
from fogline.processes.messages import encode
from fogline.storage import BlobRef
from fogline.training.kept_on_device import FLOATS
from tests.network.cluster import Cluster, job
from tests.network.processes import fleet
from tests.network.test_jobs import simulated
from tests.network.test_kills import killed_until_done
from tests.network.test_surveys import beside_simulation, found

HEAD = '[algorithm]\nname = "{}"\nprivate = ["head"]\n'
LAST = "[evaluation]\nevery = 3\n"
"""On real nodes the next round goes on while devices judge, and changes their heads."""


def private(method: str = "fedavg", **more: Any) -> str:
    return job(task="split = true", publish="", **more) + HEAD.format(method) + LAST


JOBS = {
    "a star": private("fedper", fogs=0),
    "a tree": private("fedprox"),
    "phases": private("fedrep"),
    "fogs with models of their own": private("scaffold", fog="rounds = 2"),
    "stages": private(cloud='uplink = ["int8"]\ndownlink = ["int8"]', fog='uplink = ["clip(norm=0.5)", "int8"]'),
    "judged after some training": private(fogs=0) + "fine_tune = { epochs = 2 }\n",
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_gives_the_simulator_s_model_and_its_devices_judgement(
    name: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    text = JOBS[name]
    made = clusters[0 if "[tree.fog]" not in text else 2]

    async def work() -> None:
        record, expected = await beside_simulation(made, text)
        assert [entry.name for entry in made.model(record).spec.entries] == ["body", "mean", "steps"]
        rows = found(RunFolder(made.folder / "cloud" / "runs" / record.job).history())
        assert rows == [pytest.approx(row, rel=1e-12) for row in found(expected.history)]
        (why,) = [why for what, _, why in made.said(record) if what == "not published"]
        assert "keeps part of the model on each device" in why

    runner.run(work())


def test_no_byte_of_what_stays_is_on_a_link(
    runner: asyncio.Runner, clusters: dict[int, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every frame and every blob is looked at, in both directions."""
    made, sent, states = clusters[2], list[bytes](), list[bytes]()
    take, say, tell = ValueStore._take, Uplink.send, Session.send  # pyright: ignore[reportPrivateUsage]

    def taken(self: ValueStore, draft: Path, kind: str) -> BlobRef:
        data = draft.read_bytes()
        (states if kind == "state" else sent).append(data)
        return take(self, draft, kind)

    def up(self: Uplink, frame: Any) -> None:
        sent.append(encode(frame))
        say(self, frame)

    def down(self: Session, frame: Any) -> None:
        sent.append(encode(frame))
        tell(self, frame)

    monkeypatch.setattr(ValueStore, "_take", taken)
    monkeypatch.setattr(Uplink, "send", up)
    monkeypatch.setattr(Session, "send", down)

    async def work() -> None:
        record = await made.finish(await made.submit(private("fedper")))
        assert record.state == "finished"

    runner.run(work())
    heads = [load(state)[FLOATS] for state in states]
    assert len(heads) == 4 * 3
    everything = b"".join(sent)
    assert len(everything) > 10_000
    for head in heads:
        assert np.all(head != 0)
        assert not any(head[i : i + 2].tobytes() in everything for i in range(len(head) - 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            private() + 'where = "cloud"\n',
            "evaluation.where is 'cloud', but FedAvg keeps part of the model",
        ),
        (job(task="split = true") + HEAD.format("fedavg"), "publish: FedAvg keeps part of the model on each device"),
        (
            private().replace('["head"]', '["tail"]'),
            "no entry of the model is called 'tail'; there are body, head, mean",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_the_rounds(
    text: str, words: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = clusters[2]

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.done) == ("failed", 0)
        assert words in record.why

    runner.run(work())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "after"),
    [(HEAD.format("fedrep"), False), (HEAD.format("fedrep"), True), ('[algorithm]\nname = "ditto"\n', True)],
    ids=["fedrep, before", "fedrep, after", "ditto, after"],
)
def test_a_device_that_dies_at_every_commit_keeps_what_is_its_own(algorithm: str, after: bool, tmp_path: Path) -> None:
    """A head bends what the body learns, so the model tells whether it was kept; of a model beside the common one, what
    devices find tells it."""
    text = job(
        task="split = true", publish="", rounds=6, fogs=1, clients=2, cloud="quorum = 1.0",
        fog="quorum = 1.0\ncohort = 2", more="exact = true",
    )  # fmt: skip
    text += algorithm + LAST.replace("3", "6")

    async def work() -> None:
        async with fleet(tmp_path) as made:
            await killed_until_done(made, "client-0", after, text)
            (run,) = (made.folder / "cloud" / "runs").iterdir()
            rows = found(RunFolder(run).history())
            assert rows[-1]["devices/judged"] == 2
            assert rows == [pytest.approx(row, rel=1e-12) for row in found(simulated(text).history)]

    asyncio.run(work())

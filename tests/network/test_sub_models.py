"""Smaller models on weaker devices, over real sockets: the simulator's bits, and only their numbers on the links."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from fogline.jobs.reading import parse_job
from fogline.network.node.values import ValueStore
from fogline.simulation.run import run
from fogline.storage import BlobRef
from tests.network.cluster import Cluster, job
from tests.network.small import layered
from tests.network.test_jobs import same

SHARES = """
[shares.devices]
"client-0" = 0.3
"client-1" = 0.3
"*" = 1.0
"""


def test_who_has_time_for_part_of_a_round_trains_some_layers(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    """In the first round nobody is known, so that it is asked for the least of all, as in a simulation."""
    more = 'algorithm = "partial_layers"'
    text = job(rounds=1, publish="", fog='policy = "timelyfl"', more=more).replace("small:task", "small:layered")
    made = clusters[2]

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.why) == ("finished", "")
        described = parse_job(text).model_copy(update={"engine": "loop", "processes": 0})
        simulated, start = run(described, layered(), progress=False).params, layered().initial(0)
        assert same(made.model(record), simulated)
        assert np.array_equal(simulated.view("0.weight"), start.view("0.weight"))
        assert not np.array_equal(simulated.view("5.weight"), start.view("5.weight"))

    runner.run(work())


@pytest.mark.parametrize("method", ["heterofl"])
def test_weaker_devices_get_and_send_what_they_train(
    method: str, runner: asyncio.Runner, clusters: dict[int, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = job(publish="").replace("small:task", "small:layered") + f'[algorithm]\nname = "{method}"\n' + SHARES
    made, taken = clusters[2], dict[str, set[int]]()
    take = ValueStore._take  # pyright: ignore[reportPrivateUsage]

    def noted(self: ValueStore, draft: Path, kind: str) -> BlobRef:
        value = take(self, draft, kind)
        taken.setdefault(kind, set()).add(value.size)
        return value

    monkeypatch.setattr(ValueStore, "_take", noted)

    async def work() -> None:
        record = await made.finish(await made.submit(text))
        assert (record.state, record.why) == ("finished", "")
        described = parse_job(text).model_copy(update={"engine": "loop", "processes": 0})
        assert same(made.model(record), run(described, layered(), progress=False).params)
        for kind in ("model", "update"):
            assert min(taken[kind]) < 0.6 * max(taken[kind])

    runner.run(work())

"""Differential privacy on real nodes: they do what a simulation does, but for the keys that noise comes from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from fogline.jobs.files.reading import parse_job
from fogline.simulation.run import run
from tests.network.cluster import Cluster, job
from tests.network.processes import fleet
from tests.network.small import noise

CLIENTS, SIZE, ROUNDS, CLIP = 4, 4000, 3, 0.02


def text(noise: float, fogs: int = 0, more: str = "", clients: int = CLIENTS, **tiers: str) -> str:
    privacy = f"[privacy]\nclip = {CLIP}\nnoise = {noise}\n{more}"
    made = job(ROUNDS, fogs, clients, more=privacy, task=f"size = {SIZE}", **tiers)
    return made.replace("small:task", "small:noise")


def simulated(text: str, clients: int = CLIENTS) -> np.ndarray:
    described = parse_job(text).model_copy(update={"engine": "loop", "processes": 0})
    return run(described, noise(clients, SIZE), progress=False).params.vector


async def model(made: Cluster, text: str) -> np.ndarray:
    record = await made.finish(await made.submit(text))
    assert (record.state, record.why) == ("finished", "")
    return made.model(record).vector.copy()


SAME = {
    "devices below the cloud": text(0.0),
    "fogs that merge": text(0.0, 2),
    "fogs": text(0.0, 2, 'at = "fog"'),
    "sites": text(0.0, 2, 'unit = "site"'),
    "devices": text(0.0, 2, 'at = "devices"'),
}


@pytest.mark.parametrize("name", SAME)
def test_without_noise_a_job_gives_the_simulators_model_to_the_bit(
    name: str, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    made = SAME[name]
    found = runner.run(model(clusters[2 if "[tree.fog]" in made else 0], made))
    far = np.linalg.norm(found - noise(CLIENTS, SIZE).initial(0).vector)
    assert 0.5 * CLIP < far < 1.001 * ROUNDS * CLIP
    assert np.array_equal(found, simulated(made))


def test_noise_is_as_wide_as_it_says_and_comes_from_no_seed(
    runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    one, again = (runner.run(model(clusters[2], text(1.0, 2))) for _ in range(2))
    clean = simulated(text(0.0, 2))
    for found in (one, again):
        assert (found - clean).std() == pytest.approx(CLIP * ROUNDS**0.5 / CLIENTS, rel=0.05)
    assert abs(np.corrcoef(one - clean, again - clean)[0, 1]) < 0.08


def test_a_clip_that_adapts_comes_down_to_devices(runner: asyncio.Runner, clusters: dict[int, Cluster]) -> None:
    start, adapts = noise(CLIENTS, SIZE).initial(0).vector, text(0.001, 2, "quantile = 0.5")
    far = np.linalg.norm(runner.run(model(clusters[2], adapts)) - start)
    assert far == pytest.approx(np.linalg.norm(simulated(adapts) - start), rel=0.04)  # Its noise is another.
    assert far > 1.06 * np.linalg.norm(simulated(text(0.001, 2)) - start)  # All are beyond it, so that it grows.


# DP-FTRL, and noise in shares.

MASKED = 'exchange = "secagg(threshold=0.5, minimum=2)"\nquorum = 0.9'
TURNS = 'policy = "rotation"\npolicy_parameters = { period = 2 }\ncohort = 2\nquorum = 1'


@pytest.mark.parametrize("fogs", [0, 2])
def test_shares_come_to_the_noise_that_is_wanted(
    fogs: int, runner: asyncio.Runner, clusters: dict[int, Cluster]
) -> None:
    tier = "fog" if fogs else "cloud"
    # Of four devices three are enough, so that four have more; below each fog there are two.
    mechanism = "discrete_gaussian(left=1.0)" if fogs else "skellam(left=0.75)"
    made = text(1.0, fogs, f'mechanism = "{mechanism}"', **{tier: MASKED})
    one, again = (runner.run(model(clusters[fogs], made)) - simulated(text(0.0, fogs)) for _ in range(2))
    wanted = CLIP * (ROUNDS * (2 if fogs else 4 / 3)) ** 0.5 / CLIENTS
    for off in (one, again):
        assert off.std() == pytest.approx(wanted, rel=0.06)
    assert abs(np.corrcoef(one, again)[0, 1]) < 0.08


def test_the_models_noise_is_that_of_a_few_nodes(runner: asyncio.Runner, clusters: dict[int, Cluster]) -> None:
    made = text(1.0, more='mechanism = "ftrl"', cloud=TURNS)
    one, again = (runner.run(model(clusters[0], made)) for _ in range(2))
    # After three rounds, one node over two, at its best mean with what is below it, and one over the third.
    assert (one - again).std() == pytest.approx(CLIP * (2 * (2 / 3 + 1)) ** 0.5 / 2, rel=0.06)


async def survives(folder: Path, victim: str, after: bool, text: str) -> np.ndarray:
    """The noise in the model of a job in which a node was killed where it computes for the second time."""
    where = "fogline.network.node.participation.computing:Computation.carry_out"
    async with fleet(folder) as made:
        made.kill(victim)
        made.start(victim, call=(where, 2, after))
        record = await made.submit(text)
        await made.died(victim)
        made.start(victim)
        record = await made.finish(record)
        assert record.state == "finished"
        return made.model(record).vector - simulated(text.replace("noise = 1.0", "noise = 0.0"), 2)


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "after"), [("cloud", False), ("cloud", True), ("fog", True)])
def test_a_node_that_dies_where_it_adds_noise_adds_it_once(victim: str, after: bool, tmp_path: Path) -> None:
    at = f'at = "{victim}"'
    whole = text(1.0, 1, at, clients=2, cloud="quorum = 1.0", fog="quorum = 1.0\ncohort = 2")
    left = asyncio.run(survives(tmp_path, victim, after, whole))
    assert left.std() == pytest.approx(CLIP * ROUNDS**0.5 / 2, rel=0.05)


@pytest.mark.slow
def test_a_cloud_that_dies_goes_on_in_its_tree_of_noise(tmp_path: Path) -> None:
    """It is the turn of both devices in the second of two rounds, so that four leaves are one node in the end."""
    turns = 'policy = "rotation"\npolicy_parameters = { period = 2 }'
    whole = text(1.0, 1, 'mechanism = "ftrl"', clients=2, fog=turns).replace(f"rounds = {ROUNDS}", "rounds = 4")
    left = asyncio.run(survives(tmp_path, "cloud", True, whole))
    assert left.std() == pytest.approx(CLIP * (4 / 7) ** 0.5 / 2, rel=0.05)

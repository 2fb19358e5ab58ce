"""DP-FTRL and noise in shares in runs: how much there is of it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fogline
from benchmarks.network.synthetic import task as numbers
from fogline import JobError, Tier, Tree
from fogline.jobs import Job
from fogline.jobs.protection.promise import promise_of
from fogline.jobs.protection.protection import events_of
from fogline.privacy.accounting.events import Concentrated, Repeated

SIZE, CLIENTS, CLIP, NOISE = 4000, 8, 0.01, 1.5
TURNS: dict[str, Any] = {"policy": "rotation", "policy_parameters": {"period": 2}, "cohort": 3, "quorum": 0.1}
MASKED: dict[str, Any] = {"exchange": "secagg(threshold=0.5)", "quorum": 0.9}
STAR = {"ftrl": Tree(cloud=Tier(**TURNS)), "skellam": Tree(cloud=Tier(**MASKED))}
FOGS = {
    "ftrl": Tree(cloud=Tier(), fog=Tier(count=2, **TURNS)),
    "skellam": Tree(cloud=Tier(), fog=Tier(count=2, **MASKED)),
}


def moved(mechanism: str, tree: Tree, noise: float, rounds: int = 4, **more: Any) -> np.ndarray:
    """The model after some rounds; it begins with zeros."""
    privacy = {"mechanism": mechanism, "clip": CLIP, "noise": noise}
    settings: dict[str, Any] = {"processes": 0, "progress": False} | more
    task = numbers(SIZE, CLIENTS)
    return fogline.simulate(task, tree=tree, rounds=rounds, privacy=privacy, **settings).params.vector


@pytest.mark.parametrize(
    ("tree", "rounds", "variance"),
    [
        (STAR["ftrl"], 4, 4 / 7 / 3**2),  # Of one node over four rounds, best mean with what is below it.
        (STAR["ftrl"], 3, (2 / 3 + 1) / 3**2),
        (FOGS["ftrl"], 4, 4 / 7 / 6**2),
    ],
    ids=["star", "three rounds", "merging fogs"],
)
def test_the_models_noise_is_that_of_a_few_nodes(tree: Tree, rounds: int, variance: float) -> None:
    noisy, clean = (moved("ftrl", tree, noise, rounds) for noise in (NOISE, 0.0))
    assert (noisy - clean).std() == pytest.approx(CLIP * NOISE * variance**0.5, rel=0.06)


def test_a_round_that_nobody_is_in_is_a_leaf_all_the_same() -> None:
    tree = Tree(cloud=Tier(**TURNS | {"policy_parameters": {"period": 4}}))
    settings: dict[str, Any] = {"tree": tree, "rounds": 4, "progress": False, "processes": 0}
    privacy = {"mechanism": "ftrl", "clip": CLIP}
    noisy, clean = (
        fogline.simulate(numbers(SIZE, CLIENTS), privacy=privacy | {"noise": noise}, **settings) for noise in (NOISE, 0)
    )
    assert [row["round"] for row in noisy.history if row["devices"]] == [2, 3, 4], "the first should be nobody's turn"
    off = noisy.params.vector - clean.params.vector
    assert off.std() == pytest.approx(CLIP * NOISE * (4 / 7) ** 0.5 / 3, rel=0.06)


@pytest.mark.parametrize(
    ("tree", "deviation"), [(STAR, (4 * 8 / 7) ** 0.5 / 8), (FOGS, (4 * 2) ** 0.5 / 8)], ids=["star", "fogs"]
)
@pytest.mark.parametrize("mechanism", ["skellam", "discrete_gaussian"])
def test_shares_come_to_the_noise_that_is_wanted(tree: dict[str, Tree], deviation: float, mechanism: str) -> None:
    # Of eight devices seven are enough (left = 0.8), of four all; each fog has a sum of its own.
    clean = fogline.simulate(
        numbers(SIZE, CLIENTS), rounds=4, privacy={"clip": CLIP, "noise": 0}, processes=0, progress=False
    ).params.vector
    noisy = moved(mechanism, tree["skellam"], NOISE)
    assert (noisy - clean).std() == pytest.approx(CLIP * NOISE * deviation, rel=0.06)


def test_a_run_that_goes_on_has_the_same_tree(tmp_path: Path) -> None:
    whole = moved("ftrl", STAR["ftrl"], NOISE, 7)
    moved("ftrl", STAR["ftrl"], NOISE, 3, folder=tmp_path / "run")
    assert np.array_equal(whole, moved("ftrl", STAR["ftrl"], NOISE, 7, folder=tmp_path / "run", resume=True))


def job(mechanism: str, tree: Tree, rounds: int = 8, **more: Any) -> Job:
    return Job(tree=tree, rounds=rounds, privacy={"mechanism": mechanism, "noise": 2.0} | more)


def test_what_it_costs_is_what_the_tier_does() -> None:
    # Eight rounds, of which a device is in every second: 4, 4 and 8, 16 on the levels of the tree.
    assert events_of(job("ftrl", STAR["ftrl"]), 8) == (Concentrated((4 + 4 + 8 + 16) / 8),)
    assert events_of(job("ftrl", FOGS["ftrl"]), 8, 1) == (Concentrated(4 / 8),)
    assert events_of(job("skellam", STAR["skellam"]), 8) == (Repeated(Concentrated(1 / 8), 8),)
    shared = Tree(cloud=Tier(**TURNS | MASKED))
    assert events_of(job("skellam", shared), 8) == (Repeated(Concentrated(1 / 8), 4),)


def test_people_read_whose_noise_it_is() -> None:
    assert "adds a share of noise (skellam), under masks" in promise_of(job("skellam", FOGS["skellam"]))
    assert "against everybody else, fog included" in promise_of(job("skellam", FOGS["skellam"]))
    assert "is in at most 4 releases" in promise_of(job("ftrl", STAR["ftrl"]))
    assert "is in at most 1 release," in promise_of(job("ftrl", STAR["ftrl"], rounds=2))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a method that squares": (
        {"tree": STAR["ftrl"], "algorithm": "fedadam"},
        "noise cancels out where updates are added up, and FedAdam does something else",
    ),
    "no turns": ({"tree": Tree()}, 'each device is in few rounds, far from each other; set cloud.policy = "rotation"'),
    "no sums before": ({"tree": STAR["ftrl"], "at": "devices"}, "which goes by sums that came before"),
    "fogs": ({"tree": FOGS["ftrl"], "at": "fog"}, "but privacy.at is 'fog', of which others may be there"),
    "no masks": ({"mechanism": "skellam"}, 'nobody may see a single update; set cloud.exchange = "secagg"'),
    "another place": ({"mechanism": "skellam", "tree": STAR["skellam"], "at": "cloud"}, "privacy.at 'devices'"),
    "no noise": ({"mechanism": "skellam", "tree": STAR["skellam"], "noise": 0}, "of which there are no shares"),
    "another exchange": (
        {"mechanism": "skellam", "tree": Tree(cloud=Tier(exchange="tests.exchanges.commit_reveal:CommitReveal"))},
        "the exchange CommitReveal cannot add up shares of noise; take 'secagg'",
    ),
    "a clip that moves": ({"tree": STAR["ftrl"], "quantile": 0.5}, "whose clip cannot change"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_noise_would_not_cover_is_refused(name: str) -> None:
    settings, said = REFUSED[name]
    given = {"mechanism": "ftrl", "tree": Tree(), "algorithm": "fedavg"} | settings
    tree, algorithm = given.pop("tree"), given.pop("algorithm")
    with pytest.raises(JobError) as refused:
        fogline.simulate(numbers(20, CLIENTS), algorithm, tree, rounds=2, privacy=given, progress=False, processes=0)
    assert said in str(refused.value)

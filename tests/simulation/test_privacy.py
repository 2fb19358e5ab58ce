"""Differential privacy in runs: where noise is added, and how much; what is refused; what people read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fogline
from benchmarks.network.synthetic import task as numbers
from fogline import FedAvg, JobError, Privacy, Tier, Tree
from fogline.jobs import Job
from fogline.jobs.files.reading import parse_job
from fogline.jobs.files.writing import job_to_toml
from fogline.jobs.protection.promise import promise_of
from fogline.jobs.protection.protection import events_of, protection_of
from fogline.monitoring.progress import Silent
from fogline.privacy.accounting.events import Gaussian, Repeated
from tests.toy import ToyTask

SIZE, CLIENTS = 4000, 8
STAR = Tree()
FOGS = Tree(cloud=Tier(), fog=Tier(count=2))


def simulate(task: Any = None, tree: Tree = STAR, rounds: int = 3, **settings: Any) -> fogline.Result:
    made = task or numbers(SIZE, CLIENTS)
    return fogline.simulate(made, tree=tree, rounds=rounds, **({"processes": 0, "progress": False} | settings))


def moved(result: fogline.Result) -> np.ndarray:
    return result.params.vector  # It began with zeros.


def test_without_noise_the_model_moves_by_no_more_than_the_clip() -> None:
    free, clipped = simulate(), simulate(privacy={"clip": 1e-3, "noise": 0})
    assert 0.8e-3 * 3 < np.linalg.norm(moved(clipped)) <= 1e-3 * 3 < np.linalg.norm(moved(free))
    wide = simulate(privacy={"clip": 10.0, "noise": 0})
    assert np.allclose(moved(wide), moved(free), atol=1e-7)


@pytest.mark.parametrize(
    ("privacy", "tree", "deviation"),
    [
        ({}, STAR, 3**0.5 / CLIENTS),
        ({}, Tree(cloud=Tier(cohort=2)), 3**0.5 / 2),
        ({}, FOGS, 3**0.5 / CLIENTS),
        ({"at": "fog"}, FOGS, (2 * 3) ** 0.5 / CLIENTS),
        ({"at": "fog"}, Tree(cloud=Tier(), fog=Tier(count=2, rounds=2)), (2 * 2 * 3) ** 0.5 / CLIENTS),
        ({"at": "devices"}, FOGS, (CLIENTS * 3) ** 0.5 / CLIENTS),
        ({"unit": "site"}, FOGS, 3**0.5 / 2),
        ({"unit": "site", "at": "fog"}, FOGS, (2 * 3) ** 0.5 / 2),
    ],
    ids=["star", "cohort", "merging fogs", "fogs", "fogs twice", "devices", "sites", "each site"],
)
def test_noise_is_added_where_the_job_says_and_once(privacy: dict[str, Any], tree: Tree, deviation: float) -> None:
    settings = {"clip": 0.01, "noise": 1.5} | privacy
    noisy, clean = (simulate(tree=tree, privacy=settings | more) for more in ({}, {"noise": 0}))
    assert (moved(noisy) - moved(clean)).std() == pytest.approx(0.015 * deviation, rel=0.05)


def test_a_tree_of_fogs_that_merge_gives_what_a_star_gives_to_the_bit() -> None:
    privacy = {"clip": 0.01, "noise": 1.0, "quantile": 0.5}
    star, tree = (simulate(numbers(SIZE, 12), tree, privacy=privacy) for tree in (STAR, FOGS))
    assert np.array_equal(moved(star), moved(tree))
    other = simulate(numbers(SIZE, 12), privacy=privacy, seed=1)
    assert not np.allclose(moved(star), moved(other), atol=1e-6)


@pytest.mark.parametrize(
    "tree", [STAR, FOGS, Tree(cloud=Tier(), fog=Tier(count=2, rounds=2))], ids=["star", "fogs", "2"]
)
def test_a_run_that_goes_on_adds_the_noise_of_one_that_never_stopped(tree: Tree, tmp_path: Path) -> None:
    privacy = {"clip": 0.05, "noise": 0.3, "quantile": 0.5, "at": "" if tree is STAR else "fog"}
    whole = simulate(numbers(SIZE, 12), tree, rounds=4, privacy=privacy)
    simulate(numbers(SIZE, 12), tree, rounds=2, privacy=privacy, folder=tmp_path / "run")
    resumed = simulate(numbers(SIZE, 12), tree, rounds=4, privacy=privacy, folder=tmp_path / "run", resume=True)
    assert np.array_equal(moved(whole), moved(resumed))


@pytest.mark.parametrize("tree", [STAR, FOGS], ids=["star", "fogs that merge"])
def test_who_lengthens_its_movement_is_refused_and_counted_where_the_clip_adapts(tree: Tree) -> None:
    settings: dict[str, Any] = {"privacy": {"clip": 0.01, "noise": 0.01, "quantile": 0.5}, "rounds": 2}
    honest = simulate(numbers(SIZE, 12), tree, **settings)
    lied = simulate(numbers(SIZE, 12), tree, attack={"name": "sign_flip(scale=1000)", "malicious": 1}, **settings)
    assert [row["refused"] for row in lied.history] == [1, 2]
    assert np.linalg.norm(moved(lied)) < 1.01 * np.linalg.norm(moved(honest))


def test_the_clip_that_holds_next_stands_in_every_row() -> None:
    result = simulate(numbers(SIZE, 12), rounds=3, privacy={"clip": 1e-3, "quantile": 0.5, "noise": 0.1})
    clips = [row["clip"] for row in result.history]
    assert 1e-3 < clips[0] < clips[1] < clips[2]  # All move further than that.


def test_losses_of_devices_stand_in_no_row() -> None:
    assert np.isnan(simulate(privacy=Privacy()).history[-1]["train_loss"])
    assert simulate().history[-1]["train_loss"] == 1.0


class Tells(FedAvg):
    """Reports something beside the movement, and does not say so."""

    movement_only = True

    def report(self, device):
        update = super().report(device)
        return update._replace(metrics={"size": 3.0})


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a model with buffers": ({"task": ToyTask()}, "The model has 'mean', a buffer"),
    "control variates": ({"algorithm": "scaffold"}, "Scaffold reports more than the movement of the model"),
    "counts of steps": ({"algorithm": "fednova"}, "FedNova reports"),
    "several models": ({"algorithm": "ifca"}, "With IFCA devices report something else than the movement"),
    "what a method hides": ({"algorithm": Tells()}, r"Tells cannot be used with \[privacy\]: It reports 'metric/size'"),
    "what a method hides of sites": (
        {"algorithm": Tells(), "tree": FOGS, "privacy": {"unit": "site"}},
        "It reports 'metric/size' beside its movement",
    ),
    "a model of which part stays on devices": (
        {"algorithm": "fedper"},
        "FedPer keeps part of the model on each device, so that only devices can judge it, .* exclude each other",
    ),
    "judging devices": ({"evaluation": {"where": "devices"}}, "evaluation.where is 'devices', but devices that judge"),
    "queries": ({"queries": "label_counts"}, "queries has 'label_counts', whose answers are sums of examples"),
    "losses": ({"tree": Tree(cloud=Tier(policy="oort"))}, "cloud.policy is 'oort', which selects by what is known"),
    "twice": ({"tree": Tree(cloud=Tier(late="fold"))}, "cloud.late is 'fold', with which one device may be in a sum"),
    "async": ({"tree": Tree(cloud=Tier(mode="async"))}, "cloud.mode is 'async', in which one device may be in a sum"),
    "a rule": (
        {"tree": Tree(cloud=Tier(rule="median"))},
        "cloud.rule is 'median', but the noise of",
    ),
    "stages": ({"tree": Tree(cloud=Tier(uplink=["int8"]))}, "cloud.uplink names stages, which change what each device"),
    "secagg": ({"tree": Tree(cloud=Tier(exchange="secagg"))}, "cloud.exchange is 'secagg', which rounds what each"),
    "inner rounds": ({"tree": Tree(cloud=Tier(), fog=Tier(count=2, rounds=2))}, "fog.rounds is 2, so that fog moves"),
    "no place": ({"privacy": {"at": "fgo"}, "tree": FOGS}, "privacy.at is 'fgo', which is no tier; did you mean 'fog'"),
    "no sites": ({"privacy": {"unit": "site"}}, "privacy.unit is 'site', but devices hang below cloud itself"),
    "below sites": (
        {"privacy": {"unit": "site", "at": "devices"}, "tree": FOGS},
        "privacy.at is 'devices', below the aggregators that have what a site gives",
    ),
    "a local quantile": (
        {"privacy": {"at": "devices", "quantile": 0.5}},
        "privacy.quantile wants a sum of what units say of the clip",
    ),
    "few for a quantile": (
        {"privacy": {"quantile": 0.5}},
        "With privacy.quantile, noise of 1 wants more than 10 units in a round, and 8 are expected",
    ),
    "a mechanism": ({"privacy": {"mechanism": "laplace"}}, "privacy.mechanism: There is no mechanism 'laplace'"),
    "next to no noise": ({"privacy": {"noise": 1e-200}}, "privacy.noise: it is 1e-200; it must be 0, or from 1e-06 to"),
    "a clip that holds nothing": ({"privacy": {"clip": np.inf}}, "privacy.clip is inf; it must be at most 1e"),
    "more noise than room": (
        {"privacy": {"clip": 1e4, "noise": 1e4}},
        "privacy.noise is 10000 and privacy.clip 10000, and the noise of both",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_noise_would_not_cover_is_refused_before_the_run(name: str) -> None:
    settings, why = REFUSED[name]
    with pytest.raises(JobError, match=why):
        simulate(**({"privacy": {}, "rounds": 1} | settings))


def test_above_the_noise_everything_goes() -> None:
    tree = Tree(cloud=Tier(rule="median", uplink=["int8"], downlink=["int8"]), fog=Tier(count=4))
    privacy = {"at": "fog", "clip": 0.01, "noise": 0.1}
    assert np.isfinite(moved(simulate(tree=tree, privacy=privacy))).all()
    assert np.isfinite(moved(simulate(algorithm="fedbuff", privacy={"at": "devices"}))).all()
    for fog in (Tier(count=2, rounds=2, policy="weighted", rule="median"), Tier(count=2, exchange="secagg")):
        sites = Tree(cloud=Tier(), fog=fog)
        assert np.isfinite(moved(simulate(tree=sites, privacy={"unit": "site"}))).all()


class Reads(Silent):
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_people_read_what_is_protected_against_whom_and_what_is_not() -> None:
    reads = Reads()
    simulate(privacy={"clip": 0.5}, progress=reads)
    (promise,) = reads.notes
    assert promise.startswith("Privacy: each device's whole data set is protected. What a device gives is scaled down")
    assert "cloud adds noise (gaussian) of 1 times that to the sum of every round" in promise
    assert "not against cloud, which has them before there is noise" in promise
    assert "A device is in at most 3 releases" in promise
    assert "and protects nobody." in promise
    local = promise_of(Job(privacy=Privacy(at="devices"), rounds=7))
    assert "against everybody else, the aggregators above included" in local
    assert "gives at most 7 releases" in local
    assert "simulation" not in local
    site = promise_of(Job(tree=Tree(cloud=Tier(), fog=Tier(count=2)), privacy=Privacy(unit="site")))
    assert "all devices below one fog" in site
    assert "not against cloud and fog, which have them" in site
    assert "nothing is promised" in promise_of(Job(privacy=Privacy(noise=0)))
    assert promise_of(Job()) == ""


def test_a_job_says_what_an_accountant_is_told() -> None:
    job = Job(privacy=Privacy(noise=1.5), rounds=20)
    assert events_of(job, 20) == (Repeated(Gaussian(1.5), 20),)
    assert events_of(job, 20, times=3) == (Repeated(Gaussian(1.5), 3),)  # A cohort is no secret: nothing is amplified.
    with pytest.raises(JobError, match=r"has no \[privacy\] for devices or sites"):
        events_of(Job(), 1)


def test_units_that_are_expected() -> None:
    def units(tree: Tree, population: int, **privacy: Any) -> float:
        made = protection_of(Job(tree=tree, privacy=Privacy(**privacy)))
        assert made is not None
        return made.units(population)

    assert units(Tree(cloud=Tier(cohort=0.25)), 80) == 20
    assert units(Tree(cloud=Tier(cohort=7)), 80) == 7
    two = Tree(cloud=Tier(cohort=2), fog=Tier(count=4, cohort=0.5))
    assert units(two, 80) == 2 * 10
    assert units(two, 20, at="fog") == 10
    assert units(two, 80, unit="site") == 2


def test_the_table_is_written_and_read_again() -> None:
    job = Job(privacy=Privacy(at="devices", quantile=0.3, mechanism="gaussian", epsilon=4.0))
    assert parse_job(job_to_toml(job)) == job
    assert Job().privacy is None

"""Quarantine in runs: who attacks is cut off, and the report says who and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline.jobs import JobError, Tier, Tree
from fogline.jobs.files.reading import parse_job
from fogline.jobs.tree import Quarantine
from fogline.monitoring.folder import RunFolder
from fogline.simulation.run import run
from tests.simulation.attacks.test_runs import toy
from tests.simulation.test_exactness import Interrupting
from tests.toy import ToyTask, toy_data

ENDLESS = Quarantine(memory=0.5, most=3, rounds=0)
ATTACK = {"name": "ipm(tau=20)", "malicious": 3}


@pytest.mark.parametrize(
    "rule",
    ["multi_krum(f=3)", "trimmed_mean(0.25)", "geometric_median", "flame", ["nnm(f=3)", "trimmed_mean(0.25)"]],
    ids=str,
)
def test_who_attacks_is_cut_off_and_nobody_else(rule: str | list[str]) -> None:
    result = toy(Tree(cloud=Tier(rule=rule, quarantine=ENDLESS)), ATTACK, rounds=8)
    assert set(result.cut_off) == set(result.malicious)
    assert all("below 0.5; it is not asked until the end" in why for why in result.cut_off.values())
    assert result.history[-1]["quarantined"] == 3
    assert result.history[0]["devices"] == 12
    assert result.history[-1]["devices"] == 9
    assert result.counts["quarantined"] == 3
    told = " ".join(result.summary().split())
    assert all(name in told.partition("In quarantine")[2] for name in result.malicious)
    assert told.count("it is not asked until the end") <= len(set(result.cut_off.values())) + 1  # Not once for each.


def test_without_an_attack_nobody_is(tmp_path: Path) -> None:
    result = toy(Tree(cloud=Tier(rule="trimmed_mean(0.25)", quarantine=ENDLESS)), rounds=8)
    assert not result.cut_off
    assert result.history[-1]["devices"] == 12


def test_a_malicious_fog_is_cut_off_by_the_cloud_and_a_malicious_device_by_its_fog() -> None:
    one, data = Quarantine(memory=0.5, most=1, rounds=0), toy_data(30)
    tree = Tree(cloud=Tier(rule="multi_krum(f=1)", quarantine=one), fog=Tier(count=6, rule="median"))
    result = toy(tree, {**ATTACK, "at": "fog", "malicious": 1}, data, rounds=5)
    assert set(result.cut_off) == set(result.malicious)
    tree = Tree(cloud=Tier(rule="median"), fog=Tier(count=5, rule="trimmed_mean(0.2)", quarantine=one))
    result = toy(tree, {**ATTACK, "malicious": 1}, data, rounds=5)
    assert set(result.malicious) <= set(result.cut_off)


def test_who_was_cut_off_is_asked_again_and_cut_off_again() -> None:
    terms = Quarantine(memory=0.5, most=3, rounds=2)
    result = toy(Tree(cloud=Tier(rule="multi_krum(f=3)", quarantine=terms)), ATTACK, rounds=12)
    devices = [row["devices"] for row in result.history]
    # Out after two bad rounds, and the one that was asked already; two rounds later on trial, for one and another one.
    assert devices == [12, 12, 12, 9, 9, 12, 12, 9, 9, 12, 12, 9]
    assert result.counts["released"] == 6


def test_a_run_that_goes_on_knows_who_was_cut_off(tmp_path: Path) -> None:
    tree = Tree(cloud=Tier(rule="multi_krum(f=3)", quarantine=Quarantine(memory=0.5, most=3, rounds=3)))
    whole = toy(tree, ATTACK, rounds=10, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path / "run", whole.job) as folder:
        run(whole.job, ToyTask(toy_data(12)), folder, progress=Interrupting(5))
    with RunFolder.reopen(tmp_path / "run") as kept:
        resumed = run(kept.read_job(), ToyTask(toy_data(12)), kept, progress=False)
        loaded = kept.load()
    assert np.array_equal(resumed.params.vector, whole.params.vector)
    assert resumed.cut_off == whole.cut_off == loaded.cut_off
    assert [row["devices"] for row in resumed.history] == [row["devices"] for row in whole.history]


@pytest.mark.parametrize("rule", [None, "exact", "krum(f=2)"])
def test_a_rule_that_does_not_say_whom_it_leaves_out_is_refused(rule: str | None) -> None:
    with pytest.raises(JobError, match=r"cloud\.quarantine goes by whose updates the tier's rule leaves out, and"):
        toy(Tree(cloud=Tier(rule=rule, quarantine=Quarantine())))


@pytest.mark.parametrize(
    ("rule", "most", "why"),
    [
        ("multi_krum(f=4)", 3, "may leave 9 of the 12 children of an aggregator of cloud, and a round needs 11"),
        ("multi_krum(f=4)", 3, r"set most to 1, or count on fewer that lie"),
        ("bulyan(f=2)", 0.25, r"a round needs 11 \(cloud\.rule is 'bulyan\(f=2\)'\); set most to 1"),
        ("trimmed_mean(0.25)", 6, "fewer than half may be in quarantine, and an .* has 12 children; set most to 5"),
    ],
)
def test_quarantine_that_starves_its_own_rule_is_refused(rule: str, most: float, why: str) -> None:
    with pytest.raises(JobError, match=why):
        toy(Tree(cloud=Tier(rule=rule, quarantine=Quarantine(most=most))))


def test_a_share_of_half_or_more_is_refused() -> None:
    with pytest.raises(JobError, match=r"most is 0\.9; it must be a count of at least 1, or a share above 0 and below"):
        parse_job("[tree.cloud]", ["cloud.rule=median", "cloud.quarantine={ most = 0.9 }"])

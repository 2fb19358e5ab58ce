"""Rules in a simulation: a poisoned device, trees, workers, checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline.algorithms import FedAvg
from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.jobs import Job, JobError, Tier, Tree
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result
from fogline.params import State
from fogline.simulation.run import run
from fogline.training import DeviceContext
from tests.simulation.test_exactness import Interrupting
from tests.toy import ToyTask, toy_data

TREE = Tree(cloud=Tier(rule="trimmed_mean(0.1)"), fog=Tier(count=2, rule="median"))


class Attack(FedAvg):
    """Devices of one class's client report the opposite, much larger."""

    def prepare(self, device: DeviceContext) -> State:
        return {"bad": np.array([float(device.examples.y[:3].sum() == BAD)])}

    def report(self, device: DeviceContext) -> ClientUpdate:
        delta = (device.end - device.start) * (-100.0 if device.local["bad"][0] else 1.0)
        return ClientUpdate({"delta": Weighted(delta.astype(np.float32), float(device.plan.samples))}, device.local)


BAD = 5


class Voting(FedAvg):
    """Devices weigh the numbers that they know; some name a term that others do not have."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        end, delta = device.end, device.end - device.start
        weights = np.where(np.arange(delta.size) % 2 == 0, device.plan.samples, 0.0)
        weights[1] = 0.0 if end[0] > 0 else 5.0
        terms = {"delta": Weighted(delta, weights)}
        if end[0] > 0:
            terms["rare"] = Weighted(np.ones(2, np.float32), 1.0)
        return ClientUpdate(terms, device.local)


def run_toy(tree: Tree, method: FedAvg | None = None, **changes: object) -> Result:
    settings: dict[str, object] = {"rounds": 5, "processes": 0, "engine": "loop", "chunk": 4}
    job = Job.model_validate({"tree": tree, **settings, **changes})
    return run(job, ToyTask(toy_data(12)), algorithm=method, progress=False)


def test_poisoned_devices_move_the_mean_and_not_the_rules() -> None:
    data = toy_data(12)
    bad = [client for client in range(12) if data.at(client).y[:3].sum() == BAD]
    assert 0 < len(bad) <= 3
    honest = run_toy(Tree()).metrics["accuracy"]
    assert run_toy(Tree(), Attack()).metrics["accuracy"] < honest - 0.2
    for rule in ("median", "trimmed_mean(0.3)", "krum(f=3)", "geometric_median", "flame", ["nnm(f=3)", "median"]):
        assert run_toy(Tree(cloud=Tier(rule=rule)), Attack()).metrics["accuracy"] > honest - 0.1


@pytest.mark.parametrize("method", ["scaffold", "fednova", "feddyn", "mtgc", "fedexp"])
def test_methods_of_several_terms_learn_under_a_rule(method: str) -> None:
    result = run_toy(TREE, algorithm={"name": method})
    assert result.metrics["accuracy"] > 0.5


def test_worker_processes_change_no_bit_and_neither_does_an_interruption(tmp_path: Path) -> None:
    whole = run_toy(TREE, checkpoint_every=1)
    assert np.array_equal(run_toy(TREE, processes=2).params.vector, whole.params.vector)
    job = whole.job
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path / "run", job) as folder:
        run(job, ToyTask(toy_data(12)), folder, progress=Interrupting(3))
    with RunFolder.reopen(tmp_path / "run") as kept:
        resumed = run(kept.read_job(), ToyTask(toy_data(12)), kept, progress=False)
    assert np.array_equal(resumed.params.vector, whole.params.vector)


@pytest.mark.parametrize("exact", [False, True])
def test_weights_per_number_give_a_tree_what_a_star_has(exact: bool) -> None:
    star, initial = run_toy(Tree(), Voting(), exact=exact).params, ToyTask().initial(0).vector
    tree = run_toy(Tree(cloud=Tier(), fog=Tier(count=3)), Voting(), exact=exact, processes=2).params
    lifted = run_toy(Tree(cloud=Tier(), fog=Tier(count=3, rounds=2)), Voting(), exact=exact).params
    np.testing.assert_allclose(tree.vector, star.vector, atol=0 if exact else 1e-6)
    odd = np.arange(12) % 2 == 1
    odd[1] = False
    for moved in (star, tree, lifted):
        assert np.array_equal(moved.vector[:12][odd], initial[:12][odd])
        assert (moved.vector[:12][::2] != initial[:12][::2]).all()


def test_a_rule_and_weights_per_number_are_refused_before_the_run() -> None:
    with pytest.raises(JobError, match=r"cloud\.rule takes one weight for all of a vector"):
        run_toy(Tree(cloud=Tier(rule="median")), Voting())

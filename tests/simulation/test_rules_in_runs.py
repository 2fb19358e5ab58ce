"""Rules in a simulation: a poisoned device, trees, workers, checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline import CodeError
from fogline.aggregation.rules import Rule, base
from fogline.algorithms import FedAvg
from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.jobs import Job, JobError, Tier, Tree
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result
from fogline.params import State, Vector
from fogline.simulation.run import run
from fogline.training import DeviceContext
from tests.simulation.test_exactness import Interrupting
from tests.toy import ToyTask, toy_data

TREE = Tree(cloud=Tier(rule="trimmed_mean(0.1)"), fog=Tier(count=3, rule="median"))


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


class Odd(FedAvg):
    """The first device's update weighs nothing, or is as large as numbers are."""

    size: float = 1.0
    weight: float = 1.0

    def report(self, device: DeviceContext) -> ClientUpdate:
        delta = device.end - device.start
        odd = device.client == "client-00"
        vector = np.full_like(delta, self.size) if odd and self.size > 1.0 else delta
        return ClientUpdate({"delta": Weighted(vector, self.weight if odd else 1.0)}, device.local)


class Empty(Rule):
    """Divides by the spread, of which a number may have none."""

    of: int = 1
    """Updates from which on it does."""

    def combine(self, block: np.ndarray, weights: np.ndarray) -> Vector:
        return block[0] * np.float32(np.nan if len(block) >= self.of else 1.0)


class Quits(Rule):
    def combine(self, block: np.ndarray, weights: np.ndarray) -> Vector:
        raise SystemExit("enough")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (
            Tree(cloud=Tier(rule=Empty())),
            "^cloud, round 1: the rule Empty gives 'delta' with 12 of 12 numbers that are",
        ),
        (
            Tree(cloud=Tier(rule=Empty(2))),
            "^cloud, round 1: the rule Empty gives 'delta' with 12 of 12 numbers that are",
        ),
        (
            Tree(cloud=Tier(rule="median"), fog=Tier(count=2, rule=Empty(2))),
            r"^fog-\d, round 1: the rule Empty gives .* not finite \(number 0 is nan\) \(.*test_rules_in_runs.py, line",
        ),
        (Tree(cloud=Tier(rule=Quits())), "^cloud, round 1: the rule Quits raised SystemExit: enough"),
    ],
)
def test_a_rule_that_gives_no_numbers_is_named_with_its_tier(tree: Tree, words: str) -> None:
    with pytest.raises(CodeError, match=words):
        run_toy(tree)


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


@pytest.mark.parametrize("odd", [Odd(weight=0.0), Odd(size=3e38)])
@pytest.mark.parametrize("rule", ["median", "bulyan(f=1)"])
def test_an_odd_first_device_ends_no_run_before_it_begins(rule: str, odd: Odd) -> None:
    history = run_toy(Tree(cloud=Tier(rule=rule)), odd).history
    assert len(history) == run_toy(Tree()).job.rounds
    assert all(np.isfinite(entry["loss"]) for entry in history)


@pytest.mark.parametrize("rule", ["krum(f=3)", "trimmed_mean(0.3)"])
def test_a_device_that_moves_one_of_several_models_needs_others_that_do(rule: str) -> None:
    tree = Tree(cloud=Tier(rule=rule, cohort=5 if "mean" in rule else 12))
    with pytest.raises(JobError, match=r"moves one of several; a round of cloud has at most .* too few for two"):
        run_toy(tree, algorithm={"name": "ifca"})


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


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (
            Tree(cloud=Tier(rule="krum(f=5)")),
            r"'krum\(f=5\)', which needs 13 updates, but a round of cloud has at most",
        ),
        (
            Tree(cloud=Tier(rule="median"), fog=Tier(count=4, rule="flame", cohort=1)),
            "needs 3 updates, but a round",
        ),
        (
            Tree(cloud=Tier(rule="fltrust('client-99')")),
            "trusts 'client-99', which is no child of cloud; 'client-00'",
        ),
    ],
)
def test_a_rule_that_could_never_say_anything_is_refused_before_the_run(tree: Tree, why: str) -> None:
    with pytest.raises(JobError, match=why):
        run_toy(tree)


def test_a_round_asks_as_many_as_its_rule_needs() -> None:
    result = run_toy(Tree(cloud=Tier(rule="krum(f=2)", cohort=0.1)))
    assert [row["updates"] for row in result.history] == [7] * 5


def test_the_updates_of_a_round_wait_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []

    class Watched(base.Spill):
        def __call__(self, vector: Vector) -> Vector:
            there = super().__call__(vector)
            kept.append(there.nbytes)
            assert not there.flags.owndata
            return there

    plain = run_toy(TREE).params.vector
    monkeypatch.setattr(base, "Spill", Watched)
    np.testing.assert_array_equal(run_toy(TREE).params.vector, plain)
    assert len(kept) >= 5 * (12 + 2)  # Of every round those of the devices, and of the fogs.


@pytest.mark.parametrize(
    "rule", ["krum(f=1)", "fltrust('client-03')", "flame", ["bucketing(2)", "dnc(f=1)"], "centered_clipping(0.5)"]
)
def test_workers_and_an_interruption_change_no_bit_of_a_rule_on_wholes(rule: str | list[str], tmp_path: Path) -> None:
    tree = Tree(cloud=Tier(rule=rule))
    whole = run_toy(tree, rounds=3, checkpoint_every=1)
    assert np.array_equal(run_toy(tree, rounds=3, processes=2).params.vector, whole.params.vector)
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path / "run", whole.job) as folder:
        run(whole.job, ToyTask(toy_data(12)), folder, progress=Interrupting(2))
    with RunFolder.reopen(tmp_path / "run") as reopened:
        resumed = run(reopened.read_job(), ToyTask(toy_data(12)), reopened, progress=False)
    assert np.array_equal(resumed.params.vector, whole.params.vector)


def test_what_a_rule_made_last_counts_in_the_next_round_on_every_tier() -> None:
    def vector(cloud: str, fog: str, rounds: int) -> Vector:
        tree = Tree(cloud=Tier(rule=f"centered_clipping({cloud})"), fog=Tier(count=3, rule=f"centered_clipping({fog})"))
        return run_toy(tree, rounds=rounds).params.vector

    forgets = "0.5, history=false"
    np.testing.assert_array_equal(vector("0.5", "0.5", 1), vector(forgets, forgets, 1))
    made = [vector(cloud, fog, 3) for cloud in ("0.5", forgets) for fog in ("0.5", forgets)]
    assert all(not np.array_equal(one, other) for i, one in enumerate(made) for other in made[:i])

"""One seed gives one model: over trees, arrival orders, worker processes, and an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline.jobs import Job, Method, Tier, Tree
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result, Row
from fogline.simulation.run import run
from tests.toy import ToyTask

STAR = Tree()
TREE = Tree(cloud=Tier(), fog=Tier(count=3))
DEEP = Tree(cloud=Tier(), edge=Tier(count=2), fog=Tier(count=4))
ROUNDS = Tree(cloud=Tier(), fog=Tier(count=3, rounds=2, cohort=0.5))
BUFFERED = Tree(cloud=Tier(mode="async", cohort=6, buffer=3))
CLASSES = Tree(cloud=Tier(mode="semi-async", speed_classes=3))
RING = Tree(cloud=Tier(mode="ring"), fog=Tier(count=3))
OORT = Tree(cloud=Tier(cohort=4, policy="oort"))
UNEQUAL = {"preset": "phones", "dropout": 0.05}


def run_toy(tree: Tree, **changes: object) -> Result:
    """Twelve devices, six rounds, in this process unless told otherwise."""
    settings: dict[str, object] = {"rounds": 6, "processes": 0, "engine": "loop", "chunk": 4}
    return run(Job.model_validate({"tree": tree, **settings, **changes}), ToyTask(), progress=False)


@pytest.mark.parametrize("tree", [TREE, DEEP], ids=["two tiers", "three tiers"])
def test_with_the_exact_fold_a_tree_gives_the_bits_of_a_star(tree: Tree) -> None:
    star, other = run_toy(STAR, exact=True), run_toy(tree, exact=True)
    assert np.array_equal(star.params.vector, other.params.vector)
    assert np.array_equal(star.params.counters, other.params.counters)


@pytest.mark.parametrize("tree", [TREE, DEEP], ids=["two tiers", "three tiers"])
def test_with_the_ordinary_fold_a_tree_is_within_rounding_of_a_star(tree: Tree) -> None:
    star, other = run_toy(STAR).params.vector, run_toy(tree).params.vector
    assert np.linalg.norm(star - other) <= 1e-6 * np.linalg.norm(star)


def test_the_arrival_order_does_not_change_a_bit() -> None:
    equal = run_toy(TREE)
    unequal = run_toy(TREE, devices={"speed": {"lognormal": {"median": 10, "sigma": 1}}})
    assert equal.history[-1]["seconds"] != unequal.history[-1]["seconds"]
    assert np.array_equal(equal.params.vector, unequal.params.vector)


@pytest.mark.parametrize("tree", [TREE, ROUNDS, BUFFERED, OORT], ids=["tree", "rounds", "async", "oort"])
def test_the_number_of_worker_processes_does_not_change_a_bit(tree: Tree) -> None:
    models = [run_toy(tree, processes=n, devices=UNEQUAL).params.vector for n in (0, 1, 2, 3)]
    assert all(np.array_equal(models[0], model) for model in models[1:])


def test_another_seed_gives_another_model() -> None:
    assert not np.array_equal(run_toy(STAR).params.vector, run_toy(STAR, seed=1).params.vector)


class Interrupting:
    """A progress display that presses Ctrl-C after a round."""

    def __init__(self, after: int) -> None:
        self.after = after

    def round(self, row: Row) -> None:
        if row["round"] == self.after:
            raise KeyboardInterrupt

    def started(self, *_: object, **__: object) -> None: ...
    def engine(self, *_: object) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, result: Result) -> None: ...
    def close(self) -> None: ...


KINDS = pytest.mark.parametrize(
    ("tree", "method"),
    [
        (TREE, "fedavg"),
        (ROUNDS, "scaffold"),
        (BUFFERED, "fedbuff"),
        (CLASSES, "fedat"),
        (RING, "fedavg"),
        (OORT, "fedadam"),
        (ROUNDS, "mtgc"),
        (ROUNDS, "fedexp"),
    ],
    ids=["tree", "scaffold", "fedbuff", "fedat", "ring", "oort", "mtgc", "fedexp"],
)


def job_of(tree: Tree, method: str, **changes: object) -> Job:
    """Six rounds on unequal devices, with a checkpoint after each."""
    settings = {"rounds": 6, "processes": 0, "engine": "loop", "chunk": 4, "devices": UNEQUAL, "checkpoint_every": 1}
    return Job.model_validate({"tree": tree, "algorithm": Method(name=method), **settings, **changes})


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
@KINDS
def test_a_resumed_run_gives_the_model_of_an_uninterrupted_one(
    tree: Tree, method: str, after: int, tmp_path: Path
) -> None:
    job = job_of(tree, method)
    whole = run(job, ToyTask(), progress=False)
    folder = RunFolder.create(tmp_path / "run", job)
    with pytest.raises(KeyboardInterrupt), folder:
        run(job, ToyTask(), folder, progress=Interrupting(after))
    with RunFolder.reopen(tmp_path / "run") as kept:
        resumed = run(kept.read_job(), ToyTask(), kept, progress=False)
    assert np.array_equal(whole.params.vector, resumed.params.vector)
    assert whole.counts == resumed.counts
    times = [(row["round"], row["seconds"], row["train_loss"]) for row in whole.history]
    assert times == [(row["round"], row["seconds"], row["train_loss"]) for row in resumed.history]


@KINDS
def test_an_extended_run_gives_the_model_of_a_longer_one(tree: Tree, method: str, tmp_path: Path) -> None:
    longer = run(job_of(tree, method, rounds=9), ToyTask(), progress=False)
    with RunFolder.create(tmp_path / "run", job_of(tree, method, checkpoint_every=4)) as folder:
        run(job_of(tree, method, checkpoint_every=4), ToyTask(), folder, progress=False)
    job = folder.read_job(["rounds=9", "evaluation.every=2"])
    with RunFolder.reopen(tmp_path / "run", changed=True) as kept:
        extended = run(job, ToyTask(), kept, progress=False)
    assert np.array_equal(longer.params.vector, extended.params.vector)
    assert (longer.counts, longer.metrics) == (extended.counts, extended.metrics)
    assert [row["round"] for row in longer.history] == [row["round"] for row in kept.history()]
    assert kept.load().job.rounds == 9


def test_a_run_that_reached_its_target_goes_on_if_told(tmp_path: Path) -> None:
    goal = {"target": 0.1, "stop_at_target": True}
    with RunFolder.create(tmp_path / "run", job_of(TREE, "fedavg", evaluation=goal)) as folder:
        stopped = run(job_of(TREE, "fedavg", evaluation=goal), ToyTask(), folder, progress=False)
    assert len(stopped.history) == 1
    job = folder.read_job(["evaluation.stop_at_target=false"])
    with RunFolder.reopen(tmp_path / "run", changed=True) as kept:
        extended = run(job, ToyTask(), kept, progress=False)
    whole = run(job_of(TREE, "fedavg"), ToyTask(), progress=False)
    assert np.array_equal(whole.params.vector, extended.params.vector)
    assert extended.reached == stopped.reached

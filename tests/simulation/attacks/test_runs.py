"""Attacks in runs: undefended ones fall, defended ones stand; who is malicious, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fogline
from fogline import CodeError
from fogline.data import Examples, from_arrays
from fogline.jobs import Job, JobError, Tier, Tree
from fogline.jobs.files.reading import parse_job
from fogline.jobs.files.writing import job_to_toml
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result
from fogline.params import Vector
from fogline.simulation.attacks import Attack, RoundView
from fogline.simulation.attacks.ipm import InnerProductManipulation
from fogline.simulation.run import run
from tests.simulation.test_exactness import Interrupting
from tests.toy import ToyTask, toy_data

ABOVE = Tree(cloud=Tier(exchange="secagg"), fog=Tier(count=4))
"""Fogs take steps with the cloud, and devices with nobody."""
DEFENDED = ["nnm(f=3)", "trimmed_mean(0.25)"]


def toy(tree: Tree | None = None, attack: Any = None, data: Any = None, **more: Any) -> Result:
    given = {
        "rounds": 6,
        "processes": 0,
        "engine": "loop",
        "chunk": 4,
        "tree": tree or Tree(),
        "attack": attack,
        **more,
    }
    return run(Job.model_validate(given), ToyTask(data or toy_data(12)), progress=False)


@pytest.fixture(scope="module")
def honest() -> float:
    return toy().metrics["accuracy"]


@pytest.mark.parametrize("name", ["sign_flip(scale=20)", "ipm(tau=20)", "gaussian(std=20)", "opt_ipm", "opt_alie"])
def test_the_mean_falls_where_rules_stand(name: str, honest: float) -> None:
    attack = {"name": name, "malicious": 3}
    assert toy(attack=attack).metrics["accuracy"] < honest - 0.2
    assert toy(Tree(cloud=Tier(rule=DEFENDED)), attack).metrics["accuracy"] > honest - 0.1


def test_devices_below_an_exchange_of_fogs_lie_as_ever(honest: float) -> None:
    assert toy(ABOVE, {"name": "sign_flip(scale=20)", "malicious": 3}).metrics["accuracy"] < honest - 0.2


@pytest.mark.parametrize("rule", [None, "exact", "median"])
def test_a_malicious_fog_moves_sums_and_not_a_median(rule: str | None, honest: float) -> None:
    tree = Tree(cloud=Tier(rule=rule), fog=Tier(count=4, rule=rule))
    result = toy(tree, {"name": "sign_flip(scale=20)", "malicious": 1, "at": "fog"})
    accuracy = result.metrics["accuracy"]
    assert accuracy > honest - 0.1 if rule == "median" else accuracy < honest - 0.2
    assert len(result.malicious) == 1
    assert result.malicious[0].startswith("fog-")


def test_a_forged_sum_is_what_the_mean_of_honest_fogs_makes_of_it() -> None:
    """One fog of two sends the opposite of the other, so that the model stays where it was."""
    tree = Tree(cloud=Tier(), fog=Tier(count=2))
    result = toy(tree, {"who": ("fog-1",), "at": "fog"}, rounds=1)
    np.testing.assert_allclose(result.params.vector[:12], ToyTask().initial(0).vector[:12], atol=1e-6)


def test_wrong_labels_spoil_the_mean_of_few(honest: float) -> None:
    assert toy(attack={"name": "label_flip", "malicious": 0.75}).metrics["accuracy"] < honest - 0.2


def blocks(clients: int = 8) -> Any:
    """Three classes, told apart by where a bright bar is; the corner is dark."""
    rng = np.random.default_rng(0)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(3, size=count)
        x = 0.3 * rng.normal(size=(count, 1, 6, 6)).astype(np.float32)
        x[np.arange(count), 0, 0, 2 * y] += 2.0
        return x, y

    x, y = drawn(40 * clients)
    return from_arrays("blocks", x, y, np.split(np.arange(len(y)), clients), classes=3, test=drawn(300))


def backdoored(rule: Any, attack: Any) -> Result:
    from torch import nn

    task = fogline.Task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), blocks())
    tree = Tree(cloud=Tier(rule=rule))
    local = {"learning_rate": 0.1, "epochs": 2}
    return fogline.simulate(
        task, tree=tree, rounds=8, local=local, attack=attack, processes=0, engine="loop", progress=False
    )


def test_a_backdoor_opens_under_the_mean_and_not_under_a_rule() -> None:
    attack = {"name": "model_replacement(target=1, size=2)", "malicious": 2}
    opened, shut = backdoored(None, attack), backdoored("multi_krum(f=2)", attack)
    assert opened.metrics["attack_success"] > 0.9
    assert shut.metrics["attack_success"] < 0.4
    assert shut.metrics["accuracy"] > 0.9
    assert all("attack_success" in row for row in opened.history)
    assert "attack_success" in opened.summary()
    assert opened.malicious == shut.malicious
    assert all(name in opened.summary() for name in opened.malicious)


def test_a_seed_and_a_count_draw_the_malicious(tmp_path: Path) -> None:
    once, again, other = toy(attack={}), toy(attack={}, seed=0), toy(attack={}, seed=3)
    assert len(once.malicious) == 2  # A fifth of twelve.
    assert once.malicious == again.malicious != other.malicious
    assert np.array_equal(once.params.vector, again.params.vector)
    trusted = Tree(cloud=Tier(rule="fltrust('client-04')"))
    assert "client-04" not in toy(trusted, {"malicious": 10}, rounds=1).malicious
    named = toy(attack={"who": ("client-07", "client-01")}, rounds=1)
    assert named.malicious == ("client-01", "client-07")
    assert parse_job(job_to_toml(named.job)).attack == named.job.attack
    assert InnerProductManipulation(3.0) == InnerProductManipulation(tau=3.0)
    told = fogline.simulate(ToyTask(), attack=InnerProductManipulation(3.0), rounds=1, processes=0, progress=False)
    assert told.job.attack is not None
    assert told.job.attack.name == "ipm(tau=3.0)"


NOISE = {"name": "gaussian(std=0.1)"}


@pytest.mark.parametrize(
    "tree",
    [
        Tree(cloud=Tier(rule=DEFENDED)),
        Tree(cloud=Tier(mode="async", buffer=4, cohort=8)),
        Tree(cloud=Tier(uplink=("clip(norm=0.5)", "int8(feedback=true)"))),
    ],
    ids=["rules", "async", "stages"],
)
def test_an_interruption_changes_no_bit(tree: Tree, tmp_path: Path) -> None:
    whole = toy(tree, NOISE, rounds=4, checkpoint_every=1)
    assert not np.array_equal(whole.params.vector, toy(tree, rounds=4).params.vector)
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path / "run", whole.job) as folder:
        run(whole.job, ToyTask(toy_data(12)), folder, progress=Interrupting(2))
    with RunFolder.reopen(tmp_path / "run") as kept:
        resumed = run(kept.read_job(), ToyTask(toy_data(12)), kept, progress=False)
        loaded = kept.load()
    assert np.array_equal(resumed.params.vector, whole.params.vector)
    assert loaded.malicious == whole.malicious


def test_worker_processes_change_no_bit_of_poisoned_data() -> None:
    tree, attack = Tree(cloud=Tier(rule="median")), {"name": "label_flip"}
    one, two = toy(tree, attack, rounds=2), toy(tree, attack, rounds=2, processes=2)
    assert np.array_equal(one.params.vector, two.params.vector)
    assert not np.array_equal(one.params.vector, toy(tree, rounds=2).params.vector)


def test_a_clip_on_the_link_binds_the_honest_only() -> None:
    tree = Tree(cloud=Tier(uplink=("clip(norm=0.01)",)))
    far = toy(tree, {"name": "gaussian(std=1.0)"}, rounds=1).params.vector - ToyTask().initial(0).vector
    near = toy(tree, rounds=1).params.vector - ToyTask().initial(0).vector
    assert np.linalg.norm(near[:12]) <= 0.0101
    assert np.linalg.norm(far[:12]) > 0.1


class Own(Attack):
    """One of the developer's own."""

    far: float = 1.0

    def forge(self, own: Vector, view: RoundView, rng: np.random.Generator) -> Vector:
        return np.full_like(own, self.far)


class Short(Attack):
    def forge(self, own: Vector, view: RoundView, rng: np.random.Generator) -> Vector:
        return own[:-1]


class Fewer(Attack):
    def poison(self, examples: Examples, classes: int, rng: np.random.Generator) -> Examples:
        return examples.part(slice(1))


def test_an_attack_of_ones_own() -> None:
    result = toy(attack={"name": f"{__name__}:Own(far=50.0)"}, rounds=1)
    assert (result.params.vector[:12] > 5.0).all()
    for name, what in (("Short", "12 floating-point numbers"), ("Fewer", "20 examples")):
        with pytest.raises(CodeError, match=f"the attack {name} gives something else than {what}.*test_runs.py, line"):
            toy(attack={"name": f"{__name__}:{name}"})


@pytest.mark.parametrize(
    ("attack", "more", "why"),
    [
        ({"name": "ali"}, {}, r"attack\.name: There is no attack 'ali'; did you mean 'alie'"),
        ({"malicious": 12}, {}, r"attack\.malicious is 12, which leaves nobody honest of 12"),
        ({"at": "cloud"}, {}, r"attack\.at is 'cloud', where nobody can be malicious; it must be 'devices'"),
        (
            {"at": "fog", "name": "label_flip"},
            {"tree": Tree(cloud=Tier(), fog=Tier(count=2))},
            "which only devices have",
        ),
        ({"who": ("nobody",)}, {}, r"attack\.who names 'nobody', which cannot be malicious; 'client-00' could be"),
        ({"name": "backdoor(target=3)"}, {}, "attack: A backdoor wants one class for each example, 3 among them"),
        (
            {},
            {"tree": Tree(cloud=Tier(exchange="secagg"))},
            r"in an exchange nobody sees that; leave cloud\.exchange out",
        ),
        ({"at": "fog", "malicious": 1}, {"tree": ABOVE}, "what a fog sends by what others send, and in an exchange"),
        ({}, {"evaluation": {"baselines": ("pooled",)}}, "leave baselines or the attack out"),
        ({"who": ("client-00",), "malicious": 2}, {}, "leave one of the two out"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(attack: Any, more: Any, why: str) -> None:
    with pytest.raises((JobError, ValueError), match=why):
        toy(attack=attack, **more)

"""What methods are known for, and that each runs on every tree, synchronously and not."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from quadratics import Quadratics, Run

from fogline.algorithms import METHODS, Algorithm, FedAvg, FedProx, find, make
from fogline.algorithms.methods.pfedme import PFedMe
from fogline.jobs import Method
from fogline.jobs.naming import method_of
from fogline.params import Entry, Spec

P = Quadratics.make()
LAYERED = {"fedrep", "fedrod"}
"""Methods that want layers and labels: test_personal_methods.py has them, on a star and on a tree."""
ADAPTED = {"fedexlora", "flora", "hetlora", "hetlora_pruned"}
"""Methods that want low-rank adapters: test_low_rank.py has them, on a star and on a tree."""
NAMES = [name for name in METHODS if name not in LAYERED | ADAPTED]
TREES = {"star": [0, 1, 2, 3, 4, 5], "fogs": [[0, 1], [2, 3, 4, 5]], "deep": [[[0, 1], [2]], [[3, 4, 5]]]}


def after(name: str, problem: Quadratics, rounds: int, children=None, inner: int = 1, **parameters) -> np.ndarray:
    job = Run(make(name, **parameters), problem)
    for _ in range(rounds):
        job.round(children or list(range(len(problem.b))), inner)
    return job.x


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("inner", [1, 3])
@pytest.mark.parametrize("exact", [False, True])
def test_every_method_runs_on_every_tree(name: str, tree: str, inner: int, exact: bool) -> None:
    if inner > 1 and not METHODS.find(name).thing.inner_rounds:
        return  # Refused: see ``check_rounds``.
    job = Run(make(name), P, exact)
    for _ in range(3):
        job.round(TREES[tree], inner)
    assert np.isfinite(job.x).all()
    assert np.abs(job.x).max() > 1e-3 or not job.method.global_model
    # Buffers are averaged by examples (device i moves them by i), counters keep their largest value.
    running = job.group.vector[P.size :]
    levels = {"star": 1, "fogs": 2, "deep": 3}[tree]
    per_round = inner ** (levels - 1)
    if inner == 1 or (tree == "fogs" and name in {"fedavg", "mtgc"}):
        np.testing.assert_allclose(running, 3 * per_round * (P.samples @ np.arange(6)) / P.samples.sum(), rtol=1e-6)
    # Of a method that trains in phases: those of the phase that is reported.
    of_a_device = job.method.inner_steps if isinstance(job.method, PFedMe) else P.steps.max()
    assert job.group.counters[0] == 3 * per_round * of_a_device


@pytest.mark.parametrize("name", [n for n in NAMES if n != "mtgc"])
@pytest.mark.parametrize("tree", ["fogs", "deep"])
def test_a_tree_of_one_round_gives_what_a_star_gives(name: str, tree: str) -> None:
    jobs = [Run(make(name), P) for _ in range(2)]
    for _ in range(4):
        jobs[0].round(TREES[tree])
        jobs[1].round(TREES["star"])
    np.testing.assert_allclose(jobs[0].x, jobs[1].x, rtol=1e-9)
    for i, kept in jobs[1].locals.items():
        for vector, same in zip(kept.values(), jobs[0].locals[i].values(), strict=True):
            np.testing.assert_allclose(same, vector, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_runs_asynchronously(name: str) -> None:
    rng = np.random.default_rng(1)
    arrivals = [(int(i), int(s)) for i, s in zip(rng.integers(0, 6, 40), rng.integers(0, 4, 40), strict=True)]
    job = Run(make(name), P)
    x = job.asynchronous(arrivals, lanes=2)
    assert np.isfinite(x).all()
    assert np.abs(x).max() > 1e-3 or not job.method.global_model


@pytest.mark.parametrize("name", NAMES)
def test_hooks_write_into_nothing_that_they_are_given(name: str) -> None:
    job = Run(make(name), P)
    inner = 2 if job.method.inner_rounds else 1
    job.round(TREES["fogs"], inner)
    for value in [*job.locals.values(), job.group.state, *(fog.state for fog in job.fogs.values())]:
        for vector in value.values():
            vector.flags.writeable = False
    job.group.vector.flags.writeable = False
    job.round(TREES["fogs"], inner)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.affine])
def test_affine_adjustments_are_affine(name: str) -> None:
    rng = np.random.default_rng(0)
    method = make(name)
    start, control = rng.normal(size=(2, 4))
    received = {"control": control, "correction": control, "pull": control}
    kept = {"control": rng.normal(size=4), "gradient": rng.normal(size=4)}
    spec = Spec.of([Entry("body.w", (3,), "float64"), Entry("head.w", (1,), "float64")])
    local = method.prepare(SimpleNamespace(start=start, local=kept, received=received, spec=spec))
    zero, one = np.zeros(4), np.ones(4)
    b = method.adjust_gradient(zero, zero, start, local, received)
    a = method.adjust_gradient(zero, one, start, local, received) - b
    g, w = rng.normal(size=(2, 4))
    np.testing.assert_allclose(method.adjust_gradient(g, w, start, local, received), g + a * w + b)


def test_fedprox_without_pull_is_fedavg() -> None:
    np.testing.assert_array_equal(after("fedprox", P, 5, mu=0.0), after("fedavg", P, 5))


def test_fedbuff_in_rounds_is_fedavg_with_equal_weights() -> None:
    equal = dataclasses.replace(P, samples=np.full(6, 7))
    np.testing.assert_allclose(after("fedbuff", equal, 5), after("fedavg", equal, 5))


@pytest.mark.parametrize("name", ["scaffold", "feddyn", "mtgc"])
def test_drift_correction_finds_the_optimum_that_fedavg_misses(name: str) -> None:
    p = dataclasses.replace(Quadratics.make(same_steps=True), samples=np.full(6, 10))
    best = p.optimum(np.ones(6))
    parameters = {"alpha": 0.3} if name == "feddyn" else {}
    missed = np.linalg.norm(after("fedavg", p, 150) - best)
    assert missed > 0.1
    assert np.linalg.norm(after(name, p, 150, **parameters) - best) < 1e-3 * missed


def test_fednova_is_consistent_where_steps_differ() -> None:
    # With small steps, FedAvg weighs device i by n_i tau_i; FedNova by n_i.
    p = dataclasses.replace(P, rate=0.04, steps=np.array([1, 1, 1, 10, 10, 10]))
    best = p.optimum(p.samples)
    fedavg = np.linalg.norm(after("fedavg", p, 300) - best)
    fednova = np.linalg.norm(after("fednova", p, 300) - best)
    assert fednova < 0.2 * fedavg


def test_mtgc_beats_hierfavg_under_group_skew() -> None:
    p = dataclasses.replace(Quadratics.make(same_steps=True), samples=np.full(6, 10))
    p.b[:3] += 4.0
    p.b[3:] -= 4.0
    fogs, best = [[0, 1, 2], [3, 4, 5]], p.optimum(np.ones(6))
    plain = np.linalg.norm(after("hierfavg", p, 60, fogs, 5) - best)
    corrected = np.linalg.norm(after("mtgc", p, 60, fogs, 5) - best)
    assert corrected < 0.05 * plain


def test_scaffold_controls_stay_means_over_rounds_of_fogs() -> None:
    job = Run(make("scaffold"), P)
    for _ in range(3):
        job.round(TREES["fogs"], 4)
    own = np.mean([job.locals[i]["control"] for i in range(6)], 0)
    np.testing.assert_allclose(job.group.state["control"], own, rtol=1e-9)


def test_fedexp_is_fedavg_where_devices_agree() -> None:
    agreed = dataclasses.replace(P, b=np.tile(P.b[0], (6, 1)))
    np.testing.assert_allclose(after("fedexp", agreed, 3), after("fedavg", agreed, 3))


def test_registry() -> None:
    assert len(METHODS) >= 26
    for name, method in METHODS.items():
        assert METHODS.summary(name).endswith((".", ")", ")."))
        assert name.replace("_", "") == method.__name__.lower()
        named = method_of(make(name))
        assert (named.name, make(named.name, **named.parameters)) == (name, make(name))
    assert make("FedProx", mu=1).mu == 1.0  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="did you mean 'fedprox'"):
        make("fedprxo")
    with pytest.raises(ValueError, match="did you mean 'server_rate'"):
        make("scaffold", serverrate=1)
    with pytest.raises(ValueError, match="wants a float"):
        make("fedprox", mu="much")


class Mine(FedAvg):
    """A method of one's own."""

    strength: float
    often: int = 2


def test_own_methods() -> None:
    name = f"{__name__}:Mine"
    mine = make(name, strength=2)
    assert mine == Mine(strength=2.0)
    assert method_of(mine) == Method(name=name, parameters={"strength": 2.0, "often": 2})
    with pytest.raises(ValueError, match="wants a value for strength"):
        make(name)
    with pytest.raises(ValueError, match="wants an int"):
        make(name, strength=1.0, often=1.5)
    with pytest.raises(ValueError, match="no subclass"):
        find("math:sqrt")
    with pytest.raises(ValueError, match="cannot be imported"):
        find("nowhere:Nothing")
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine.strength = 3.0  # type: ignore[attr-defined]
    assert issubclass(Mine, Algorithm)


NORMED = {"fedamp", "feddistill", "fedexp", "fedgroup", "fetchsgd", "fedmd", "fedproto", "ifca"} | ADAPTED
"""Methods whose aggregators look at a vector as a whole, or at vectors that are not laid out as the model is."""


def test_which_methods_work_on_every_number_for_itself() -> None:
    assert {name for name, method in METHODS.items() if not method.columnwise} == NORMED


def test_a_method_is_columnwise_as_its_parent_is_until_it_touches_an_aggregator() -> None:
    class OnDevices(FedProx):
        mu: float = 1.0

        def adjust_gradient(self, gradient: Any, weights: Any, start: Any, local: Any, received: Any) -> Any:
            return gradient

        def staleness_weight(self, staleness: int) -> float:
            return 1.0

        def _own(self) -> None: ...

    class AtTheServer(FedProx):
        def server_update(self, model: Any, folded: Any, state: Any, group: Any) -> Any:
            return model, state

    class Declared(AtTheServer):
        columnwise: ClassVar[bool] = True

    class Heir(AtTheServer): ...

    class Helped(METHODS["fedadam"]):  # type: ignore[misc]
        """What it overrides is no hook, but is called by one."""

        def second(self, v: Any, square: Any) -> Any:
            return v

    class Mixin:
        def group_update(self, start: Any, delta: Any, weight: Any, totals: Any) -> Any:
            return totals

    class Mixed(Mixin, FedProx): ...

    class Norm(METHODS["fedexp"]):  # type: ignore[misc]
        epsilon: float = 1.0

    assert OnDevices.columnwise
    assert Declared.columnwise
    assert not AtTheServer.columnwise
    assert not Heir.columnwise
    assert not Helped.columnwise
    assert not Mixed.columnwise
    assert not Norm.columnwise

"""Methods that look at their device, each against its formula in plain numpy."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from quadratics import Quadratics, Run

from fogline.algorithms import METHODS, hooks, make
from fogline.algorithms import group as groups
from fogline.jobs import Job, Tier, Tree
from fogline.jobs.errors import JobError
from fogline.jobs.planning import check_rounds, planner
from fogline.params import Entry, Spec
from fogline.training import Plan
from fogline.training.context import WORK, Draws, RoundContext
from fogline.training.local import LocalTraining
from fogline.user_code.bugs import CodeError

P = Quadratics.make()
N = len(P.b)
SHARE = P.samples / P.samples.sum()
ALL = range(N)
DATA = SimpleNamespace(sizes=lambda: np.array([10, 25, 40]), clients=["a", "b", "c"])


def job(**settings: object) -> Job:
    return Job(task="m:t", seed=3, **settings)  # type: ignore[arg-type]


NAMED = ["feddc", "scaffnew", "fedpvr", "scaffold", "fedntd", "fedproto", "fedmd", "ifca", "decayingsteps"]


@pytest.mark.parametrize("name", NAMED)
def test_a_method_is_less_than_sixty_lines_and_names_its_source(name: str) -> None:
    kind = METHODS.find(name).thing
    lines = [line for line in Path(inspect.getfile(kind)).read_text().splitlines() if line.strip()]
    assert len(lines) < 60
    assert re.search(r"20\d\d.*arXiv \d{4}\.\d{5}", " ".join((kind.__doc__ or "").split()))


def test_scaffold_option_one_keeps_the_gradient_at_the_model_received() -> None:
    x, c, own = np.zeros(3), np.zeros(3), np.zeros((N, 3))
    run = Run(make("scaffold", option=1), P)
    for r in range(5):
        chosen = [i for i in ALL if (i + r) % 3]
        run.round(chosen, population=N)
        ends = {i: P.sgd(i, x, lambda g, w, shift=c - own[i]: g + shift) for i in chosen}
        news = own.copy()
        for i in chosen:
            news[i] = P.gradient(i, x)
        x = x + np.mean([ends[i] - x for i in chosen], 0)
        c, own = c + (news - own).sum(0) / N, news
    np.testing.assert_allclose(run.x, x, rtol=1e-12)
    with pytest.raises(ValueError, match="it must be at least 1 and at most 2"):
        make("scaffold", option=3)


def test_scaffnew() -> None:
    p, x, h = 0.3, np.zeros(3), np.zeros((N, 3))
    run = Run(make("scaffnew", p=p), P)
    for _ in range(5):
        run.round(list(ALL))
        ends = np.stack([P.sgd(i, x, lambda g, w, own=h[i]: g - own) for i in ALL])
        x = ends.mean(0)
        h = h + p / P.rate * (x - ends)
    np.testing.assert_allclose(run.x, x, rtol=1e-12)


def test_scaffnew_draws_one_geometric_number_of_steps_for_all() -> None:
    plan = planner(job(), DATA, make("scaffnew", p=0.2))  # type: ignore[arg-type]
    rounds = [{plan(client, r, r).steps for client in range(3)} for r in range(300)]
    assert all(len(steps) == 1 for steps in rounds)
    drawn = np.array([steps.pop() for steps in rounds])
    assert drawn.min() == 1
    assert drawn.mean() == pytest.approx(1 / 0.2, rel=0.15)
    assert plan(1, 7, 7) == plan(1, 7, 7)


def test_scaffnew_finds_the_optimum_where_fedavg_does_not() -> None:
    alike = Quadratics.make(same_steps=True)
    ends = {}
    for name in ("fedavg", "scaffnew"):
        run = Run(make(name, **({"p": 0.2} if name == "scaffnew" else {})), alike)
        for _ in range(300):
            run.round(list(ALL))
        ends[name] = np.abs(run.x - alike.optimum(np.ones(N))).max()
    assert ends["scaffnew"] < 1e-6 < 1e-2 < ends["fedavg"]


def test_feddc() -> None:
    alpha, x, mean = 0.1, np.zeros(3), np.zeros(3)
    drift, pull = np.zeros((N, 3)), np.zeros((N, 3))
    run = Run(make("feddc", alpha=alpha), P)
    for _ in range(5):
        run.round(list(ALL))
        correction = pull - mean
        ends = np.stack(
            [P.sgd(i, x, lambda g, w, pull=alpha * (drift[i] - x) + correction[i]: g + alpha * w + pull) for i in ALL]
        )
        drift = drift + ends - x
        pull = (ends - x) / (P.steps * P.rate)[:, None]
        mean, x = SHARE @ pull, SHARE @ (ends + drift)
    np.testing.assert_allclose(run.x, x, rtol=1e-12)


def test_fedpvr_corrects_the_last_layer_only() -> None:
    run, full = (Run(make(name), P) for name in ("fedpvr", "scaffold"))
    # The model of these problems is one parameter, so the pattern says all or nothing.
    for _ in range(4):
        run.round(list(ALL))
        full.round(list(ALL))
    np.testing.assert_array_equal(run.x, full.x)
    with pytest.raises(CodeError, match="no parameter is called 'head"):
        Run(make("fedpvr", layers="head.*"), P).round([0])


def test_fedpvr_leaves_the_other_layers_alone() -> None:
    spec = Spec.of(
        [
            Entry("body.weight", (2,), "float32"),
            Entry("head.weight", (2,), "float32"),
            Entry("head.bias", (1,), "float32"),
        ]
    )
    method = make("fedpvr")
    device = SimpleNamespace(
        spec=spec, start=np.ones(5), end=np.zeros(5), plan=Plan(2, 10, 0.5), local={"control": np.full(5, 0.1)},
        received={"control": np.full(5, 0.3)},
    )  # fmt: skip
    device.local = method.prepare(device)
    np.testing.assert_allclose(device.local["correction"], [0, 0, 0.2, 0.2, 0.2])
    report = method.report(device)
    change = 1.0 / (2 * 0.5) - 0.2 - 0.1
    np.testing.assert_allclose(report.terms["control"].vector, [0, 0, change, change, change])
    np.testing.assert_allclose(report.local["control"], 0.1 + report.terms["control"].vector)


def test_decaying_steps() -> None:
    local = LocalTraining(batch_size=5)
    usual = [local.step_count(size) for size in (10, 25, 40)]
    plan = planner(job(local={"batch_size": 5}), DATA, make("decayingsteps"))  # type: ignore[arg-type]
    for r in (0, 1, 7, 26, 999):
        wanted = [max(1, int(np.ceil(k * (r + 1) ** (-1 / 3) - 1e-9))) for k in usual]
        assert [plan(client, r, r).steps for client in range(3)] == wanted


def test_ifca_finds_two_groups_of_devices() -> None:
    rng = np.random.default_rng(5)
    centres = np.array([[4.0, 0.0, -4.0], [-4.0, 3.0, 4.0]])
    a = np.stack([np.eye(3)] * 6)
    b = np.concatenate([centres[[0]] + rng.normal(size=(3, 3)) * 0.1, centres[[1]] + rng.normal(size=(3, 3)) * 0.1])
    p = Quadratics(a, b, np.array([5, 10, 20, 5, 10, 20]), np.full(6, 5))
    run = Run(make("ifca", clusters=2), p)
    models = [np.zeros(3), np.random.default_rng(1).standard_normal(3) * 0.3]
    for _ in range(6):
        run.round(list(range(6)))
        chosen = [int(np.argmin([np.sum((m - b[i]) ** 2) for m in models])) for i in range(6)]
        for j, m in enumerate(models):
            those = [i for i in range(6) if chosen[i] == j]
            models[j] = np.average([p.sgd(i, m) for i in those], 0, p.samples[those]) if those else m
        share = p.samples @ (np.array(chosen) == 0) / p.samples.sum()
        assert run.group.metrics["metric/cluster-0"] == pytest.approx(share)
    np.testing.assert_allclose(run.x, models[0], rtol=1e-6)
    np.testing.assert_allclose(run.group.state["model-1"], models[1], rtol=1e-6)
    assert len({*chosen[:3]}) == len({*chosen[3:]}) == 1
    assert chosen[0] != chosen[3]


@pytest.mark.parametrize("fogs", [False, True], ids=["star", "tree"])
def test_fedgroup_groups_devices_by_their_first_updates_and_takes_newcomers_in(fogs: bool) -> None:
    rng, kinds = np.random.default_rng(5), [0, 1, 0, 1, 0, 1]
    centres = np.array([[4.0, 0.0, -4.0], [-4.0, 3.0, 4.0]])
    b = centres[kinds] + rng.normal(size=(6, 3)) * 0.1
    p = Quadratics(np.stack([np.eye(3)] * 6), b, np.array([5, 10, 20, 5, 10, 20]), np.full(6, 5))
    run = Run(make("fedgroup", directions=64), p)
    models, known, cohorts = [np.zeros(3), np.zeros(3)], set[int](), [[0, 1, 2, 3], [0, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    for first, cohort in enumerate(cohorts):
        run.round([cohort[:2], cohort[2:]] if fogs else cohort)
        known |= {i for i in cohort if not first}
        for j, m in enumerate(models):
            those = [i for i in cohort if kinds[i] == j and i in known]  # Newcomers only say where they belong.
            models[j] = np.average([p.sgd(i, m) for i in those], 0, p.samples[those])
        known |= set(cohort)
    np.testing.assert_allclose(run.x, models[0], rtol=1e-9)
    np.testing.assert_allclose(run.group.state["model-1"], models[1], rtol=1e-9)
    assert [int(run.group.state[f"group-client-{i}"][0]) for i in range(6)] == kinds


@pytest.mark.parametrize("children", [list(ALL), [[0, 1], [[2, 3], [4, 5]]]], ids=["star", "tree"])
def test_fedmd(children: list) -> None:
    rounds, public = 4, P.data.public.x
    run, own, consensus = Run(make("fedmd", epochs=2), P), np.zeros((N, 3)), None
    for _ in range(rounds):
        run.round(children)
        for i in ALL:
            for _ in range(0 if consensus is None else 2):  # Digest: all public examples are one batch.
                signs = np.sign(public * own[i] - consensus)
                own[i] = own[i] - P.rate * (public * signs).sum(0) / signs.size
            own[i] = P.sgd(i, own[i])  # Revisit.
        consensus = np.mean([public * own[i] for i in ALL], 0)
    np.testing.assert_allclose(run.group.state["consensus"], consensus.ravel(), rtol=1e-9)
    for i in ALL:
        np.testing.assert_allclose(run.locals[i]["model"], own[i], rtol=1e-9)
    assert not run.x.any()


@pytest.mark.parametrize("name", ["fedmd", "fedproto"])
def test_a_device_that_keeps_its_model_sends_none_of_its_weights(name: str) -> None:
    run = Run(make(name), P)
    for _ in range(2):
        down = groups.send_down(run.method, run.group)
        update = run.device(0, down)
        sent = {term: vector for term, vector in update.vectors.items() if term != "buffers"}
        assert set(sent) == ({"scores"} if name == "fedmd" else {"0", "1"})
        run.round(list(ALL))
    assert run.method.movement == ""
    assert not run.method.global_model


@pytest.mark.parametrize("name", ["scaffnew", "feddc", "ifca", "fedmd", "fedproto"])
def test_rounds_of_a_fogs_own_are_refused_where_a_method_has_none(name: str) -> None:
    tree = Tree(cloud=Tier(), fog=Tier(count=2, rounds=3))
    with pytest.raises(JobError, match=r"has no rounds of a tier's own: leave tree.fog.rounds"):
        check_rounds(make(name), job(tree=tree))
    check_rounds(make(name), job(tree=Tree(cloud=Tier(), fog=Tier(count=2))))


def test_work_sees_what_is_known_before_the_model_comes() -> None:
    class Curious(type(make("fedavg"))):  # type: ignore[misc]
        def work(self, plan: Plan, device: RoundContext) -> Plan:
            return plan.replace(steps=int(device.start.sum()))

    class Idle(type(make("fedavg"))):  # type: ignore[misc]
        def work(self, plan: Plan, device: RoundContext) -> Plan:
            return plan.replace(steps=0)

    device = RoundContext("a", 0, Draws(1, 2, WORK))
    with pytest.raises(CodeError, match=r"Curious.work raised AttributeError: device.start is not there: before the"):
        hooks.work(Curious(), Plan(3, 10, 0.1), device)
    with pytest.raises(CodeError, match=r"Idle.work raised ValueError: a plan is given steps=0; it must be above 0"):
        hooks.work(Idle(), Plan(3, 10, 0.1), device)


def test_plans() -> None:
    plan = Plan(10, 25, 0.1, 10)
    assert plan.epochs == pytest.approx(10 / 3)
    assert plan.replace(epochs=2).steps == 6
    assert plan.replace(epochs=2, batch_size=5) == Plan(10, 25, 0.1, 5)
    assert plan.replace(batch_size=5, learning_rate=1.0) == Plan(10, 25, 1.0, 5)
    assert plan.replace(epochs=0.01).steps == 1
    with pytest.raises(ValueError, match="give one of the two"):
        plan.replace(steps=1, epochs=1)
    with pytest.raises(ValueError, match=r"batch_size=2.5; it must be a whole number"):
        plan.replace(batch_size=2.5)  # type: ignore[arg-type]

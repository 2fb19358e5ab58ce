"""Every method against its formula, written down a second time in plain numpy."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quadratics import Quadratics, Run

from fogline.algorithms import make
from fogline.codecs.count_sketch import CountSketch

ROUNDS = 5
P = Quadratics.make()
N = len(P.b)
n = P.samples / P.samples.sum()
ALL = range(N)


def run(name: str, **parameters: float) -> np.ndarray:
    job = Run(make(name, **parameters), P)
    for _ in range(ROUNDS):
        job.round(list(ALL))
    return job.x


def mean_update(x: np.ndarray) -> np.ndarray:
    return np.sum([n[i] * (P.sgd(i, x) - x) for i in ALL], axis=0)


@pytest.mark.parametrize("name", ["fedavg", "fedsgd", "hierfavg", "fedlc", "moon", "fedntd", "decayingsteps", "cafe"])
def test_plain_average(name: str) -> None:
    x = np.zeros(3)
    for _ in range(ROUNDS):
        x = sum(n[i] * P.sgd(i, x) for i in ALL)
    np.testing.assert_allclose(run(name), x, rtol=1e-12)


def test_fedsgd_is_gradient_descent() -> None:
    p = Quadratics(P.a, P.b, P.samples, np.ones(N, int))
    job, x = Run(make("fedsgd"), p), np.zeros(3)
    for _ in range(ROUNDS):
        job.round(list(ALL))
        x = x - p.rate * sum(n[i] * p.gradient(i, x) for i in ALL)
    np.testing.assert_allclose(job.x, x, rtol=1e-12)
    assert dict(job.method.local_defaults) == {"batch_size": None, "steps": 1}


def test_fedprox() -> None:
    x = np.zeros(3)
    for _ in range(ROUNDS):
        x = sum(n[i] * P.sgd(i, x, lambda g, w, x=x: g + 0.7 * (w - x)) for i in ALL)
    np.testing.assert_allclose(run("fedprox", mu=0.7), x, rtol=1e-12)


def test_fednova() -> None:
    x = np.zeros(3)
    for _ in range(ROUNDS):
        x = x + (n @ P.steps) * sum(n[i] * (P.sgd(i, x) - x) / P.steps[i] for i in ALL)
    np.testing.assert_allclose(run("fednova"), x, rtol=1e-12)


def test_fednova_counts_what_momentum_adds() -> None:
    rho = 0.9
    # With momentum, gradient t goes into v at once and then with rho, rho^2, ... in the steps that follow.
    tau = [sum(sum(rho**j for j in range(s - t)) for t in range(s)) for s in P.steps]
    x = np.zeros(3)
    for _ in range(ROUNDS):
        x = x + (n @ tau) * sum(n[i] * (P.sgd(i, x) - x) / tau[i] for i in ALL)
    np.testing.assert_allclose(run("fednova", momentum=rho), x, rtol=1e-12)


def test_scaffold() -> None:
    x, c, own = np.zeros(3), np.zeros(3), np.zeros((N, 3))
    job = Run(make("scaffold", server_rate=0.8), P)
    for r in range(ROUNDS):
        chosen = [i for i in ALL if (i + r) % 3]  # others sit out
        job.round(chosen, population=N)
        ends, news = {}, own.copy()
        for i in chosen:
            ends[i] = P.sgd(i, x, lambda g, w, shift=c - own[i]: g + shift)
            news[i] = own[i] - c + (x - ends[i]) / (P.steps[i] * P.rate)
        x = x + 0.8 * np.mean([ends[i] - x for i in chosen], 0)
        c, own = c + (news - own).sum(0) / N, news
    np.testing.assert_allclose(job.x, x, rtol=1e-12)


def test_feddyn() -> None:
    alpha, x, h, own = 0.05, np.zeros(3), np.zeros(3), np.zeros((N, 3))
    job = Run(make("feddyn", alpha=alpha), P)
    for r in range(ROUNDS):
        chosen = [i for i in ALL if (i + r) % 3]
        job.round(chosen, population=N)
        ends = {i: P.sgd(i, x, lambda g, w, i=i, x=x: g - own[i] + alpha * (w - x)) for i in chosen}
        for i in chosen:
            own[i] -= alpha * (ends[i] - x)
        h = h - alpha / N * sum(ends[i] - x for i in chosen)
        x = np.mean([ends[i] for i in chosen], 0) - h / alpha
    np.testing.assert_allclose(job.x, x, rtol=1e-10)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (3, 1)])
def test_fetchsgd(rows: int, columns: int) -> None:
    """With the sketch written out as a matrix, whose rows are its cells."""
    sketch = CountSketch(3, rows, columns)
    matrix = np.stack([sketch.of(one) for one in np.eye(3)], axis=1)
    x, m, e = np.zeros(3), np.zeros(rows * columns), np.zeros(rows * columns)
    for _ in range(ROUNDS):
        m = 0.5 * m + matrix @ mean_update(x)
        e = e + 0.8 * m
        tries = zip(np.split(matrix, rows), np.split(e, rows), strict=True)
        estimates = np.median([part.T @ cells for part, cells in tries], axis=0)
        step, first = np.zeros(3), np.abs(estimates).argmax()
        step[first] = estimates[first]
        x, e = x + step, e - matrix @ step
    found = run("fetchsgd", rows=rows, size=rows * columns / 3, momentum=0.5, server_rate=0.8, share=0.3)
    np.testing.assert_allclose(found, x, rtol=1e-12)
    assert np.abs(x).max() > 0.1


def test_fedavgm() -> None:
    x, v = np.zeros(3), np.zeros(3)
    for _ in range(ROUNDS):
        v = 0.9 * v + mean_update(x)
        x = x + v
    np.testing.assert_allclose(run("fedavgm"), x, rtol=1e-12)


SECOND = {
    "fedadagrad": lambda v, d: v + d**2,
    "fedadam": lambda v, d: 0.99 * v + 0.01 * d**2,
    "fedyogi": lambda v, d: v - 0.01 * d**2 * np.sign(v - d**2),
}


@pytest.mark.parametrize("name", SECOND)
def test_fedopt(name: str) -> None:
    x, m, v = np.zeros(3), np.zeros(3), np.full(3, 1e-6)
    beta1 = 0.0 if name == "fedadagrad" else 0.9
    for _ in range(ROUNDS):
        d = mean_update(x)
        m = beta1 * m + (1 - beta1) * d
        v = SECOND[name](v, d)
        x = x + 0.1 * m / (np.sqrt(v) + 1e-3)
    np.testing.assert_allclose(run(name), x, rtol=1e-12)


def test_fedexp() -> None:
    x, before, factors = np.zeros(3), np.zeros(3), []
    job = Run(make("fedexp", epsilon=0.01), P)
    np.testing.assert_array_equal(job.judged, x)
    for _ in range(ROUNDS):
        before = x
        d = np.stack([P.sgd(i, x) - x for i in ALL])
        mean = n @ d
        factors.append(max(1.0, n @ (d**2).sum(1) / (2 * (mean @ mean + 0.01))))
        x = x + factors[-1] * mean
        job.round(list(ALL))
    assert max(factors) > 1.0  # else this would be FedAvg
    np.testing.assert_allclose(job.x, x, rtol=1e-12)
    np.testing.assert_allclose(job.judged, (x + before) / 2, rtol=1e-12)


def test_fedsam() -> None:
    def adjust(i: int):
        return lambda g, w: P.gradient(i, w + 0.3 * g / np.linalg.norm(g))

    x = np.zeros(3)
    for _ in range(ROUNDS):
        x = sum(n[i] * P.sgd(i, x, adjust(i)) for i in ALL)
    np.testing.assert_allclose(run("fedsam", rho=0.3), x, rtol=1e-10)


def test_fedsam_takes_each_stacked_client_by_itself() -> None:
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(2, 4, 3))
    stacked = make("fedsam").perturb(w, g)
    np.testing.assert_allclose(stacked, [make("fedsam").perturb(w[k], g[k]) for k in range(4)])


def test_fedlc_lowers_the_logits_of_rare_labels() -> None:
    method = make("fedlc", tau=2.0, classes=5)

    def device(targets: list[float]) -> Any:
        return SimpleNamespace(start=np.zeros(3), examples=SimpleNamespace(y=np.array(targets)))

    local = method.prepare(device([0, 0, 0, 0, 2]))
    logits = np.ones((2, 4))
    adjusted = method.adjust_outputs(logits, None, SimpleNamespace(local=local))
    np.testing.assert_allclose(adjusted[0], [1 - 2 * 4**-0.25, 1 - 2 * 100, -1, 1 - 2 * 100], rtol=1e-6)
    with pytest.raises(ValueError, match="'classes'"):
        method.prepare(device([7]))
    with pytest.raises(ValueError, match="integer labels"):
        method.prepare(device([0.5]))


def test_moon() -> None:
    method = make("moon", mu=2.0, temperature=0.5)
    rng = np.random.default_rng(0)
    z, features = rng.normal(size=(4, 5)), {k: rng.normal(size=(4, 5)) for k in (0.0, 1.0)}
    start, before = np.array([0.0]), np.array([1.0])
    device = SimpleNamespace(start=start, local={"previous": before}, features_at=lambda w, _: features[float(w[0])])
    adjusted = method.adjust_loss(1.5, SimpleNamespace(features=z), device)
    expected = 0.0
    for row in range(4):
        s = [z[row] @ f[row] / np.linalg.norm(z[row]) / np.linalg.norm(f[row]) for f in features.values()]
        near, far = math.exp(s[0] / 0.5), math.exp(s[1] / 0.5)
        expected -= math.log(near / (near + far)) / 4
    assert adjusted == pytest.approx(1.5 + 2.0 * expected, rel=1e-6)
    job = Run(method, P)
    job.round([0])
    np.testing.assert_array_equal(job.locals[0]["previous"], P.sgd(0, np.zeros(3)))


ARRIVALS = [(0, 0), (1, 1), (2, 2), (0, 1), (5, 3), (4, 0), (3, 2), (1, 5)]


def test_fedasync() -> None:
    models = [np.zeros(3)]
    for i, staleness in ARRIVALS:
        staleness = min(staleness, len(models) - 1)
        a = 0.6 * (1 + staleness) ** -0.5
        models.append((1 - a) * models[-1] + a * P.sgd(i, models[-1 - staleness]))
    np.testing.assert_allclose(Run(make("fedasync"), P).asynchronous(ARRIVALS), models[-1], rtol=1e-12)


def test_fedbuff() -> None:
    models, held = [np.zeros(3)], []
    for i, staleness in ARRIVALS:
        staleness = min(staleness, len(models) - 1)
        start = models[-1 - staleness]
        held.append((1 + staleness) ** -0.5 * (P.sgd(i, start) - start))
        if len(held) == 4:
            models.append(models[-1] + 0.5 * sum(held) / 4)
            held = []
    x = Run(make("fedbuff", buffer=4, server_rate=0.5), P).asynchronous(ARRIVALS)
    np.testing.assert_allclose(x, models[-1], rtol=1e-12)


def test_ca2fl() -> None:
    models, held, sent = [np.zeros(3)], dict[int, list[np.ndarray]](), dict[int, np.ndarray]()
    for count, (i, staleness) in enumerate(ARRIVALS, 1):
        start = models[-1 - min(staleness, len(models) - 1)]
        held.setdefault(i, []).append(P.sgd(i, start) - start)
        if count % 4 == 0:
            new = {j: sum(them) / len(them) for j, them in held.items()}
            v = sum(sent.values()) / N + sum(new[j] - sent.get(j, 0.0) for j in new) / len(new)
            models.append(models[-1] + 0.5 * v)
            sent |= new
            held = {}
    x = Run(make("ca2fl", buffer=4, server_rate=0.5), P).asynchronous(ARRIVALS)
    np.testing.assert_allclose(x, models[-1], rtol=1e-12)


@pytest.mark.parametrize(("oldest", "members"), [(100, 100), (2, 100), (100, 2)])
def test_ace(oldest: int, members: int) -> None:
    models, sent = [np.zeros(3)], dict[int, tuple[int, np.ndarray]]()
    for move, (i, staleness) in enumerate(ARRIVALS):
        start = models[-1 - min(staleness, len(models) - 1)]
        sent.pop(i, None)  # The last one to be heard comes last.
        before = list(sent.items())[-members:]
        used = [update for _, (at, update) in before if move - at < oldest]
        sent = dict(before) | {i: (move, P.sgd(i, start) - start)}
        used.append(sent[i][1])
        models.append(models[-1] + 0.2 * sum(used) / len(used))
    job = Run(make("ace", server_rate=0.2, oldest=oldest, members=members), P)
    np.testing.assert_allclose(job.asynchronous(ARRIVALS), models[-1], rtol=1e-12)
    assert sum(name.startswith("kept-") for name in job.group.state) <= members


@pytest.mark.parametrize("name", ["ca2fl", "ace"])
def test_caches_stay_at_fogs_and_the_root_moves_by_the_mean_of_what_these_send(name: str) -> None:
    job = Run(make(name, server_rate=1.0), P)
    for _ in range(3):
        before = job.x.copy()
        job.round([[0, 1], [2, 3]], rounds=2)
        moved = [fog.vector[:3] - before for fog in job.fogs.values()]
        np.testing.assert_allclose(job.x - before, sum(moved) / 2, rtol=1e-9)
    assert not job.group.state
    kept = [{key for key in fog.state if key.startswith("kept-")} for fog in job.fogs.values()]
    assert all(len(names) == 2 for names in kept)
    assert not kept[0] & kept[1]


def test_fedat() -> None:
    lanes, reports, models = np.zeros((3, 3)), np.zeros(3), [np.zeros(3)]
    for i, staleness in ARRIVALS:
        staleness = min(staleness, len(models) - 1)
        lane = i % 3
        lanes[lane] = P.sgd(i, models[-1 - staleness])
        reports[lane] += 1
        models.append(sum(reports[2 - m] / reports.sum() * lanes[m] for m in range(3)))
    np.testing.assert_allclose(Run(make("fedat"), P).asynchronous(ARRIVALS, lanes=3), models[-1], rtol=1e-12)


def test_mtgc() -> None:
    fogs, inner = [[0, 1, 2], [3, 4, 5]], 3
    p = Quadratics(P.a, P.b, np.full(N, 10), np.full(N, 4))
    h = 4 * p.rate
    x, y = np.zeros(3), np.zeros((2, 3))
    job = Run(make("mtgc"), p)
    for _ in range(4):
        job.round(fogs, rounds=inner)
        means = np.stack([x, x])
        z = np.zeros((N, 3))
        for _ in range(inner):
            for j, fog in enumerate(fogs):
                ends = {i: p.sgd(i, means[j], lambda g, w, shift=z[i] + y[j]: g + shift) for i in fog}
                means[j] = np.mean(list(ends.values()), 0)
                for i in fog:
                    z[i] += (ends[i] - means[j]) / h
        x = means.mean(0)
        y += (means - x) / (h * inner)
        np.testing.assert_allclose(job.x, x, rtol=1e-5)  # the pace travels in single precision

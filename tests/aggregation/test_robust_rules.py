"""Rules that look at updates as wholes: against their formulas, under lies, in any order and in any blocks."""

from __future__ import annotations

import gc
import math
import re
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.aggregation import UnusableRoundError, UnusableUpdateError, Update, rows, sweep
from fogline.aggregation.gathering import Gathered, GatheringFold, as_it_is, plans_of
from fogline.aggregation.rules import Geometry, Mixture, Rule, average, make_rule, selection
from fogline.aggregation.rules.flame import first_majority

Table = np.ndarray


def table_of(seed: int, updates: int = 13, size: int = 57) -> Table:
    """Updates that go roughly the same way, some farther than others."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.3, 2.0, (updates, 1))
    return (rng.normal(size=size) + spread * rng.normal(size=(updates, size))).astype(np.float32)


def combined(
    rule: str | Rule | Sequence[str],
    table: Table,
    weights: Sequence[float] | None = None,
    last: Table | None = None,
) -> Table:
    fold = make_rule(rule).fold()
    if last is not None:
        assert isinstance(fold, GatheringFold)
        fold.last = {"p": last}
    for i, row in enumerate(table):
        weight = 1.0 if weights is None else weights[i]
        fold.add(Update({"p": row}, {"p": weight}, child=f"client-{i}"))
    return fold.finish().mean("p")


def nearest(table: Table, point: Table) -> Table:
    """Places of the rows, the nearest to a point first."""
    return np.argsort([np.square(row - point).sum() for row in table], kind="stable")


def krum_order(table: Table, neighbours: int) -> Table:
    sums = [sorted(np.square(table - row).sum(axis=1))[1 : neighbours + 1] for row in table]
    return np.argsort([sum(some) for some in sums], kind="stable")


def bulyan(table: Table, f: int) -> Table:
    left, picked = list(range(len(table))), []
    while len(picked) < len(table) - 2 * f:
        best = left[int(krum_order(table[left], max(1, len(left) - f - 2))[0])]
        picked.append(best)
        left.remove(best)
    return meamed(table[picked], 2 * f)


def meamed(table: Table, f: int) -> Table:
    far = np.abs(table - np.median(table, axis=0))
    order = np.argsort(far, axis=0, kind="stable")[: len(table) - f]
    return np.take_along_axis(table, order, axis=0).mean(axis=0)


def weiszfeld(table: Table, smoothing: float, iterations: int, weights: Table | None = None) -> Table:
    point = np.zeros(table.shape[1])
    for _ in range(iterations):
        factors = (1.0 if weights is None else weights) / np.maximum(np.linalg.norm(table - point, axis=1), smoothing)
        point = factors @ table / factors.sum()
    return point


def clipping(table: Table, radius: float, iterations: int, start: Table | float = 0.0) -> Table:
    centre = np.zeros(table.shape[1]) + start
    for _ in range(iterations):
        apart = table - centre
        centre = centre + (apart * np.minimum(1, radius / np.linalg.norm(apart, axis=1))[:, None]).mean(axis=0)
    return centre


def mixed(table: Table, f: int) -> Table:
    return np.array([table[nearest(table, row)[: len(table) - f]].mean(axis=0) for row in table])


def bounded(table: Table, norm: float) -> Table:
    return table * np.minimum(1, norm / np.linalg.norm(table, axis=1))[:, None]


def trust(table: Table, root: int) -> Table:
    own, others = table[root], np.delete(table, root, axis=0)
    lengths = np.linalg.norm(others, axis=1)
    scores = np.maximum(others @ own / lengths / np.linalg.norm(own), 0)
    return scores / scores.sum() @ (others / lengths[:, None] * np.linalg.norm(own))


def dnc(table: Table, f: int) -> Table:
    apart = table - table.mean(axis=0)
    projected = apart @ np.linalg.svd(apart, full_matrices=False)[2][0]
    return table[np.argsort(projected**2)[: len(table) - f]].mean(axis=0)


def trimmed(table: Table, f: int) -> Table:
    return np.sort(table, axis=0)[f : len(table) - f].mean(axis=0)


FORMULAS = {
    "krum(f=3)": lambda t: t[krum_order(t, 8)[0]],
    "krum(f=3, neighbours=9)": lambda t: t[krum_order(t, 9)[0]],
    "multi_krum(f=3)": lambda t: t[krum_order(t, 8)[:10]].mean(axis=0),
    "multi_krum(f=3, keep=4)": lambda t: t[krum_order(t, 8)[:4]].mean(axis=0),
    "bulyan(f=2)": lambda t: bulyan(t, 2),
    "bulyan(f=0)": lambda t: bulyan(t, 0),
    "meamed(f=0)": lambda t: t.mean(axis=0),
    "meamed(f=4)": lambda t: meamed(t, 4),
    "geometric_median(0.1, 3)": lambda t: weiszfeld(t, 0.1, 3),
    "geometric_median": lambda t: weiszfeld(t, 1e-6, 500),
    "centered_clipping(radius=5.0)": lambda t: clipping(t, 5.0, 1),
    "centered_clipping(radius=2.0, iterations=4)": lambda t: clipping(t, 2.0, 4),
    "norm_bound(norm=6.0)": lambda t: bounded(t, 6.0).mean(axis=0),
    "fltrust(root='client-4')": lambda t: trust(t, 4),
    "dnc(f=3)": lambda t: dnc(t, 3),
    "nnm(f=3)": lambda t: mixed(t, 3).mean(axis=0),
    ("nnm(f=3)", "median"): lambda t: np.median(mixed(t, 3), axis=0),
    ("norm_bound(6.0)", "nnm(f=2)", "trimmed_mean(0.15)"): lambda t: trimmed(mixed(bounded(t, 6.0), 2), 2),
    ("nnm(f=2)", "krum(f=2)"): lambda t: mixed(t, 2)[krum_order(mixed(t, 2), 9)[0]],
    ("nnm(f=2)", "geometric_median(0.1, 3)"): lambda t: weiszfeld(mixed(t, 2), 0.1, 3),
    ("nnm(f=2)", "dnc(f=2)"): lambda t: dnc(mixed(t, 2), 2),
    ("nnm(f=1)", "bulyan(f=2)"): lambda t: bulyan(mixed(t, 1), 2),
    ("norm_bound(6.0)", "mean"): lambda t: bounded(t, 6.0).mean(axis=0),
}


@pytest.mark.parametrize("rule", FORMULAS)
@pytest.mark.parametrize("seed", range(3))
def test_a_rule_is_its_formula(rule: str, seed: int) -> None:
    table = table_of(seed)
    wanted = FORMULAS[rule](table.astype(np.float64))
    np.testing.assert_allclose(combined(rule, table), wanted, atol=2e-6)


def test_a_geometric_median_may_be_weighted() -> None:
    table, weights = table_of(4), np.arange(1.0, 14.0)
    made = combined("geometric_median(0.1, 3, weighted=True)", table, list(weights))
    np.testing.assert_allclose(made, weiszfeld(table.astype(np.float64), 0.1, 3, weights), atol=2e-6)
    assert not np.allclose(made, combined("geometric_median(0.1, 3)", table, list(weights)), atol=1e-3)


@pytest.mark.parametrize("rule", FORMULAS)
def test_no_claim_of_weight_counts(rule: str) -> None:
    table = table_of(5)
    heavy = [1e6 if i == 2 else 1.0 + i for i in range(len(table))]
    np.testing.assert_array_equal(combined(rule, table, heavy), combined(rule, table))


DRAWN = ("dnc(f=3)", ("nnm(f=2)", "dnc(f=2)"))
PAIRED = ("bulyan(f=2)", ("nnm(f=1)", "bulyan(f=2)"))
"""At last one neighbour counts, and two that are each other's nearest have the same score."""
ORDERLESS = [rule for rule in FORMULAS if rule not in (*DRAWN, *PAIRED) and "fltrust" not in rule]


@pytest.mark.parametrize("rule", ORDERLESS)
def test_no_order_of_updates_matters(rule: str) -> None:
    table = table_of(6)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(table))
        np.testing.assert_allclose(combined(rule, table[order]), combined(rule, table), atol=2e-6)


ROBUST = [
    "krum(f=3)",
    "multi_krum(f=3)",
    "bulyan(f=3)",
    "meamed(f=3)",
    "geometric_median",
    "dnc(f=3)",
    "flame",
    "median",
    "fltrust(root='client-14')",
    ("nnm(f=3)", "trimmed_mean(0.2)"),
    ("nnm(f=3)", "geometric_median"),
    ("bucketing(2)", "median"),
    ("norm_bound(9.0)", "nnm(f=3)", "median"),
]


@pytest.mark.parametrize("rule", ROBUST)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 3.0, 30.0, 1e4, 1e18, 1e37]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_three_that_lie_move_the_result_no_farther_than_the_honest_differ(
    rule: str, seed: int, far: float, away: bool
) -> None:
    rng = np.random.default_rng(seed)
    size = 30
    centre = rng.normal(size=size)
    honest = centre + 0.3 * rng.normal(size=(12, size))
    lie = (-centre if away else rng.normal(size=size)) * far
    table = np.concatenate([np.tile(lie, (3, 1)), honest]).astype(np.float32)
    made = combined(rule, table)
    apart = max(np.linalg.norm(row - honest.mean(axis=0)) for row in honest)
    assert np.linalg.norm(made - honest.mean(axis=0)) < 3 * apart
    if far >= 30.0:
        assert np.linalg.norm(combined("mean", table) - centre) > 3 * apart


@pytest.mark.parametrize("rule", ["krum(f=3)", "bulyan(f=2)", "geometric_median", ["nnm(f=3)", "median"], "flame"])
def test_a_lie_in_the_buffers_alone_spoils_neither_them_nor_the_movement(rule: str | list[str]) -> None:
    delta, buffers = table_of(1), table_of(2, size=9)
    buffers[:3] = 1e6
    fold = make_rule(rule).fold()
    for one, other in zip(delta, buffers, strict=True):
        fold.add(Update({"delta": one, "buffers": other}, {"delta": 1.0, "buffers": 1.0}))
    made = fold.finish()
    np.testing.assert_array_equal(made.mean("delta"), combined(rule, delta))
    assert np.abs(made.mean("buffers")).max() <= np.abs(buffers[3:]).max()


def test_bounded_lengths_bound_what_one_that_lies_can_do() -> None:
    table = table_of(7)
    table[3] = 1e20
    for rule in ("centered_clipping(radius=2.0)", "norm_bound(norm=2.0)", ["norm_bound(2.0)", "mean"]):
        assert np.linalg.norm(combined(rule, table)) < 2.0


AROUND = {
    "centered_clipping(radius=2.0)": lambda t, last: clipping(t, 2.0, 1, last),
    "centered_clipping(radius=2.0, iterations=3)": lambda t, last: clipping(t, 2.0, 3, last),
    "centered_clipping(radius=2.0, history=false)": lambda t, _: clipping(t, 2.0, 1),
    ("nnm(f=3)", "centered_clipping(radius=2.0)"): lambda t, last: clipping(mixed(t, 3), 2.0, 1, last),
    ("norm_bound(3.0)", "centered_clipping(2.0)"): lambda t, last: last + clipping(bounded(t - last, 3.0), 2.0, 1),
    "geometric_median": lambda t, _: weiszfeld(t, 1e-6, 500),
}


@pytest.mark.parametrize("rule", AROUND)
def test_a_rule_that_remembers_sets_out_from_what_it_made_last(
    rule: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, last = table_of(11), table_of(12)[0]
    made = combined(rule, table, last=last)
    wide, centre = table.astype(np.float64), last.astype(np.float64)
    np.testing.assert_allclose(made, AROUND[rule](wide, centre), atol=4e-6)
    monkeypatch.setattr(rows, "BLOCK", 13 * 10)
    monkeypatch.setattr(rows, "STRIP", 3)
    np.testing.assert_array_equal(combined(rule, table, last=last), made)
    short = combined(rule, table, last=last[:-1])  # Of another length: it is of something else.
    np.testing.assert_array_equal(short, combined(rule, table))


def test_clipping_around_the_last_result_follows_what_clipping_around_zero_never_reaches() -> None:
    """Karimireddy et al. 2021: a lie within the radius moves one round a little, and the history makes up for it."""
    rng = np.random.default_rng(0)
    truth = 5.0 * rng.normal(size=40)
    remembering, forgetful = "centered_clipping(4.0)", "centered_clipping(4.0, history=false)"
    last = np.zeros(40, np.float32)
    for _ in range(30):
        table = (truth + 0.3 * rng.normal(size=(13, 40))).astype(np.float32)
        table[:3] = -truth
        last, plain = combined(remembering, table, last=last), combined(forgetful, table)
    honest = float(np.linalg.norm(truth))
    assert np.linalg.norm(last - truth) < 0.1 * honest
    assert np.linalg.norm(plain - truth) > 0.9 * honest


def test_what_rules_looked_at_is_let_go_at_once() -> None:
    """Python's collector, which a simulation hardly ever runs, finds no updates of rounds that are over."""
    gc.collect()
    gc.disable()
    try:
        fold = make_rule(["norm_bound(2.0)", "nnm(f=1)", "bucketing(2)", "median"]).fold(as_it_is)
        sent = [row.copy() for row in table_of(9)]
        for row in sent:
            fold.add(Update({"p": row}, {"p": 1.0}))
        fold.finish()
        kept = weakref.ref(sent[0])
        del fold, sent, row
        assert kept() is None
    finally:
        gc.enable()


def test_bucketing_makes_means_of_all_updates_and_draws_alike() -> None:
    table = table_of(8)
    geometry = Geometry(lambda: np.eye(13), lambda: np.ones(13), lambda _: np.eye(13), np.ones(13), (), 57, (5,))
    matrix = make_rule("bucketing(3)").mix(geometry)
    assert isinstance(matrix, np.ndarray)
    assert matrix.shape == (5, 13)
    assert sorted((matrix > 0).sum(axis=1)) == [1, 3, 3, 3, 3]
    assert ((matrix > 0).sum(axis=0) == 1).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    rule = ["bucketing(3)", "median"]
    np.testing.assert_array_equal(combined(rule, table), combined(rule, table))
    other = table.copy()
    other[0, 0] += 1e-3
    assert not np.allclose(combined(rule, table), combined(rule, other), atol=1e-2)  # Other buckets.


def test_flame_clips_to_the_median_length_and_adds_noise_of_that_scale() -> None:
    rng = np.random.default_rng(0)
    table = (np.ones(80_000) + 0.1 * rng.normal(size=(9, 80_000))).astype(np.float32)
    table[0] *= 50.0
    table[1] *= -1.0
    plain, noisy = combined("flame(noise=0.0)", table), combined("flame(noise=0.01)", table)
    middle = float(np.median(np.linalg.norm(table.astype(np.float64), axis=1)))
    assert np.linalg.norm(plain) <= 1.001 * middle
    assert np.abs(plain - 1.0).max() < 0.3
    assert (noisy - plain).std() == pytest.approx(0.01 * middle, rel=0.02)
    np.testing.assert_array_equal(combined("flame(noise=0.01)", table), noisy)


def test_the_first_majority_is_the_cluster_that_hdbscan_finds() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(1)
    for count in (5, 8, 13, 20):
        for _ in range(5):
            points = rng.normal(size=(count, 3)) * rng.choice([0.2, 3.0], (count, 1))
            distances = np.linalg.norm(points[:, None] - points, axis=2)
            found = cluster.HDBSCAN(
                min_cluster_size=count // 2 + 1,
                min_samples=1,
                allow_single_cluster=True,
                metric="precomputed",
                copy=True,
            ).fit_predict(distances)
            np.testing.assert_array_equal(first_majority(distances), found >= 0)


BLOCKED = [*ROBUST, "centered_clipping(radius=5.0)", "flame(noise=0.5)"]


@pytest.mark.parametrize("rule", BLOCKED)
def test_blocks_and_threads_change_no_bit(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(9, 15, 3001)
    whole = combined(rule, table)
    monkeypatch.setattr(rows, "BLOCK", 15 * 100)
    monkeypatch.setattr(rows, "STRIP", 33)
    monkeypatch.setattr(sweep, "WORTH", 100)
    monkeypatch.setattr(sweep, "cores", lambda: 4)
    np.testing.assert_array_equal(combined(rule, table), whole)


@pytest.mark.parametrize("rule", BLOCKED)
def test_pieces_are_combined_as_the_wholes_were_planned(rule: str) -> None:
    table, made = table_of(10, 15, 200), make_rule(rule)
    fold = made.fold(as_it_is)
    for i, row in enumerate(table):
        fold.add(Update({"p": row}, {"p": 1.0}, child=f"client-{i}"))
    gathered = fold.partial()
    assert isinstance(gathered, Gathered)
    plans = plans_of(made, gathered, {})
    parts: list[Table] = []
    for start, stop in ((0, 70), (70, 77), (77, 200)):
        piece = made.fold(as_it_is, {name: plan.at(start) for name, plan in plans.items()})
        for i, row in enumerate(table):
            piece.add(Update({"p": row[start:stop]}, {"p": 1.0}, child=f"client-{i}"))
        parts.append(piece.finish().mean("p"))
    np.testing.assert_array_equal(np.concatenate(parts), combined(rule, table))


def test_too_few_updates_are_a_sentence() -> None:
    with pytest.raises(UnusableRoundError, match=r"Krum\(f=3, neighbours=0\) needs 9 updates, and 8 can be used"):
        combined("krum(f=3)", table_of(0, 8))
    with pytest.raises(UnusableRoundError, match="needs 9 updates, and only 8 of 9 have a 'p' that weighs anything"):
        combined("krum(f=3)", table_of(0, 9), [0.0, *[1.0] * 8])
    with pytest.raises(UnusableRoundError, match="needs the update of 'client-30'"):
        combined("fltrust(root='client-30')", table_of(0))
    with pytest.raises(UnusableRoundError, match="needs the update of 'client-0', whose 'p' weighs nothing"):
        combined("fltrust(root='client-0')", table_of(0, 9), [0.0, *[1.0] * 8])
    assert make_rule(["bucketing(2)", "krum(f=2)"]).least == 13
    assert make_rule(["bucketing(4)", "median"]).least == 9
    assert make_rule(["nnm(f=9)", "median"]).least == 19


def test_a_name_of_ones_own_ends_no_round() -> None:
    table, rule = table_of(0, 9), make_rule("krum(f=3)")
    fold = rule.fold()
    for i, row in enumerate(table):
        vectors = {"p": row} | ({"rare": row[:2]} if i < 2 else {})
        fold.add(Update(vectors, dict.fromkeys(vectors, 1.0)))
    made = fold.finish()
    assert "rare" not in made
    np.testing.assert_array_equal(made.mean("p"), combined("krum(f=3)", table))


def test_a_vector_whose_distances_overflow_is_refused() -> None:
    fold = make_rule("krum(f=0)").fold()
    with pytest.raises(UnusableUpdateError, match="no distance to it can be computed"):
        fold.add(Update({"p": np.array([1e200, 0.0])}, {"p": 1.0}))
    fold.add(Update({"p": np.array([3e38, 0.0], np.float32)}, {"p": 1.0}))


def test_a_rule_of_ones_own_may_mix_and_combine() -> None:
    class Longest(Rule):
        prepares = True
        count: int = 2

        def mix(self, updates: Geometry) -> Table:
            return selection(np.argsort(-updates.norms)[: self.count], len(updates))

    class Odd(Rule):
        def mix(self, updates: Geometry) -> Mixture:
            return Mixture(average([0], len(updates)))

        def combine(self, block: Table, weights: Table) -> Table:
            assert (len(block), weights.tolist()) == (1, [1.0])
            return 2.0 * block[0]

    table = table_of(3)
    longest = np.argsort(-np.linalg.norm(table, axis=1))
    np.testing.assert_allclose(combined(Longest(3), table), table[longest[:3]].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(combined(Odd(), table), 2.0 * table[0])
    fold = make_rule([Longest(3), "median"]).fold()
    for row in table:
        fold.add(Update({"p": row}, {"p": 1.0}))
    np.testing.assert_array_equal(fold.finish().mean("p"), np.median(table[longest[:3]], axis=0))


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (np.ones(13), r"gives an array of shape \(13,\) where it mixes; it must give one of shape \(mixtures, 13\)"),
        (np.ones((2, 12)), r"of shape \(2, 12\)"),
        (None, "gives <class 'NoneType'> where it mixes"),
        (np.full((1, 13), math.nan), "gives numbers that are not finite where it mixes"),
    ],
)
def test_a_mixture_that_is_none_is_named(made: object, why: str) -> None:
    class Wrong(Rule):
        def mix(self, updates: Geometry):  # type: ignore[no-untyped-def]
            return made

    with pytest.raises(TypeError, match=why):
        combined(Wrong(), table_of(0))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("krum", "Rule 'krum' wants a value for f"),
        ("krum(f=-1)", "Parameter 'f' of rule 'krum' is -1; it must be at least 0."),
        ("krum(f=0.5)", "Parameter 'f' of rule 'krum' is 0.5"),
        ("centered_clipping(radius=0.0)", "Parameter 'radius' of rule 'centered_clipping' is 0.0; it must be above 0."),
        ("flame(noise=-1.0)", "Parameter 'noise' of rule 'flame' is -1.0; it must be at least 0."),
        ("fltrust(root='')", "root is empty"),
        ([], "The list of rules is empty"),
        (["median", "krum(f=1)"], "Median() ends in one update, so that nothing can follow it"),
        (["krum(f=1)", "median"], "ends in one update, so that nothing can follow it"),
        (["nnm(f=1)", "exact"], "Exact() adds updates up as they come"),
        (["nnm(f=1)", "fltrust(root='a')"], "compares updates with the one of 'a'; nothing can stand before it"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(rule: str | list[str], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        make_rule(rule)

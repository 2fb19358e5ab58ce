"""Which updates a rule has used."""

from __future__ import annotations

import numpy as np
import pytest

from fogline.aggregation import Update
from fogline.aggregation.attribution import scores_of
from fogline.aggregation.gathering import CombinedFold, as_it_is
from fogline.aggregation.rules import Rule, make_rule
from fogline.aggregation.rules.registry import RULES

RNG = np.random.default_rng(3)
HONEST = RNG.normal(size=(9, 500)) + 5.0
UPDATES = np.concatenate([HONEST, RNG.normal(size=(2, 500)) - 20.0]).astype(np.float32)


def use(rule: str | list[str] | Rule, updates: np.ndarray = UPDATES, trusted: str = "") -> dict[str, float]:
    fold = make_rule(rule).fold(as_it_is)
    for place, row in enumerate(updates):
        fold.add(Update({"delta": row}, {"delta": 1.0}, child=f"c{place}"))
    made = fold.finish()
    assert isinstance(made, CombinedFold)
    return scores_of([made.use()])


@pytest.mark.parametrize(
    "rule",
    [
        "multi_krum(f=2)",
        "bulyan(f=2)",
        "trimmed_mean(0.2)",
        "median",
        "meamed(f=2)",
        "geometric_median",
        "dnc(f=2)",
        "flame",
        "fltrust('c0')",
        ["nnm(f=2)", "mean"],
        ["norm_bound(30.0)", "nnm(f=2)", "trimmed_mean(0.2)"],
        ["bucketing(1)", "median"],
    ],
    ids=str,
)
def test_who_is_far_away_is_used_less_than_all_others(rule: str | list[str]) -> None:
    assert make_rule(rule).tells
    found = use(rule)
    trusted = make_rule(rule).trusted
    assert found.keys() == {f"c{place}" for place in range(11)} - {trusted}
    assert all(0.0 <= score <= 1.0 for score in found.values())
    honest = [found.get(f"c{place}", 1.0) for place in range(9)]
    assert max(found["c9"], found["c10"]) < 0.5
    assert sum(score > 0.5 for score in honest) >= 6  # Bulyan leaves out 2f, and trims 2f of the rest.


def test_scores_are_beside_the_median_of_what_is_used() -> None:
    """Of each number the largest and the smallest are trimmed, which are the same update's everywhere."""
    rows = np.outer(np.arange(6.0), np.ones(40)).astype(np.float32)
    found = use("trimmed_mean(0.16)", rows)
    assert [found[f"c{place}"] for place in range(6)] == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    assert set(use("trimmed_mean(0.0)", rows).values()) == {1.0}


def test_a_rule_that_takes_one_says_nothing_of_the_others() -> None:
    assert set(use("krum(f=2)").values()) == {1.0}
    for rule in ("krum(f=1)", "mean", "exact", ["nnm(f=1)", "krum(f=1)"]):
        assert not make_rule(rule).tells


def test_every_other_rule_that_needs_all_updates_tells() -> None:
    needed = {"f": 1, "norm": 1.0, "radius": 1.0, "root": "c0"}
    for name in RULES:
        kind = RULES[name]
        known = {key: value for key, value in needed.items() if key in getattr(kind, "__dataclass_fields__", {})}
        rule = RULES.make(name, **known)
        assert rule.tells == (rule.needs_all and name != "krum"), name


def test_names_count_by_their_numbers_and_a_child_by_those_it_sends() -> None:
    fold = make_rule("median").fold(as_it_is)
    for place in range(8):
        vectors = {"delta": np.full(90, float(place), np.float32), "small": np.full(10, 0.0, np.float32)}
        if place == 0:
            del vectors["small"]
        fold.add(Update(vectors, dict.fromkeys(vectors, 1.0), child=f"c{place}"))
    made = fold.finish()
    assert isinstance(made, CombinedFold)
    found = scores_of([made.use()])
    assert found["c0"] == 0.0
    assert found["c7"] == pytest.approx(0.1 / 0.55)  # Half of all count in the large name, and all in the small one.
    assert found["c4"] == 1.0

"""Rules: what they make of updates, what they refuse, and how a text names one."""

from __future__ import annotations

import math
import re
import tracemalloc
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.aggregation import Folded, MeanFold, UnusableUpdateError, Update, rows
from fogline.aggregation.gathering import Gathered, as_it_is
from fogline.aggregation.rules import RULES, Rule, make_rule, rule_name
from fogline.aggregation.update import UnusableRoundError
from fogline.params import map_arrays, save_arrays


def update(vector: object, weight: float = 1.0, counters: tuple[int, ...] = ()) -> Update:
    return Update({"p": np.asarray(vector, np.float32)}, {"p": weight}, np.array(counters, np.int64))


def folded(text: str, updates: list[Update]) -> Folded:
    fold = make_rule(text).fold()
    for one in updates:
        fold.add(one)
    return fold.finish()


def trimmed(table: np.ndarray, share: float) -> np.ndarray:
    count = min(math.ceil(share * len(table) - 1e-9), (len(table) - 1) // 2)
    return np.array([np.mean(sorted(map(float, column))[count : len(table) - count]) for column in table.T])


tables = st.integers(1, 9).flatmap(
    lambda rows: st.builds(
        lambda seed, size: np.random.default_rng(seed).normal(size=(rows, size)).astype(np.float32),
        st.integers(0, 2**32 - 1),
        st.integers(1, 40),
    )
)


@given(tables, st.sampled_from([0.0, 0.1, 0.25, 0.49]), st.data())
@settings(max_examples=80, deadline=None)
def test_rules_are_those_of_their_definition_in_any_order(table: np.ndarray, share: float, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(table))))
    updates = [update(table[i], 1.0 + i) for i in order]
    np.testing.assert_array_equal(folded("median", updates).mean("p"), np.median(table, axis=0))
    if share and len(table) < 3:
        with pytest.raises(UnusableRoundError, match="needs 3 updates"):
            folded(f"trimmed_mean({share})", updates)
        return
    np.testing.assert_allclose(folded(f"trimmed_mean({share})", updates).mean("p"), trimmed(table, share), atol=1e-6)


@pytest.mark.parametrize("text", ["median", "trimmed_mean(0.2)"])
def test_blocks_and_threads_change_no_bit(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    updates = [update(rng.normal(size=3001)) for _ in range(7)]
    whole = folded(text, updates).mean("p")
    monkeypatch.setattr(rows, "BLOCK", 700)
    np.testing.assert_array_equal(folded(text, updates).mean("p"), whole)


def test_what_is_gathered_in_parts_is_as_if_gathered_at_once_also_through_a_checkpoint() -> None:
    rng = np.random.default_rng(1)
    updates = [update(rng.normal(size=5), weight, (i, 2)) for i, weight in enumerate((1.0, 4.0, 2.0))]
    updates[1].vectors["rare"], updates[1].weights["rare"] = np.ones(2, np.float32), 1.0
    one, other = make_rule("median").fold(), make_rule("median").fold()
    one.add(updates[0])
    for later in updates[1:]:
        other.add(later, 0.5)
    kept = other.partial()
    one.merge(Gathered.from_arrays({name: array.copy() for name, array in kept.to_arrays().items()}))
    made = one.finish()
    table = [updates[0].vectors["p"], *(0.5 * later.vectors["p"] for later in updates[1:])]
    np.testing.assert_array_equal(made.mean("p"), np.median(table, axis=0))
    np.testing.assert_array_equal(made.mean("rare"), [0.5, 0.5])
    assert (made.count, made.counters.tolist()) == (3, [1, 2])


@given(st.lists(st.integers(0, 2**62), min_size=3, max_size=9), st.integers(-(2**63), 2**63 - 1), st.data())
@settings(max_examples=40, deadline=None)
def test_one_device_sets_no_counter(honest: list[int], lie: int, data: st.DataObject) -> None:
    given_ = data.draw(st.permutations([*honest, lie]))
    counted = folded("median", [update([1.0], 1.0, (count,)) for count in given_]).counters
    assert counted.tolist() == [sorted(given_)[(len(given_) - 1) // 2]]
    assert min(honest) <= counted[0] <= max(honest)


def test_names_that_all_are_too_rare_end_the_round() -> None:
    def gathered(names: str) -> Folded:
        fold = make_rule("krum(f=1)").fold()
        for place, name in enumerate(names):
            row = np.full(2, place, np.float32)
            fold.add(Update({name: row, "buffers": row}, {name: 1.0, "buffers": 1.0}))
        return fold.finish()

    with pytest.raises(UnusableRoundError, match=r"needs 5 updates under a name; of 8 .* \('a' has 4\)"):
        gathered("aaaabbbb")
    assert {*gathered("aaaaabbb").sums} == {"a", "buffers"}


def test_a_total_counts_every_update_as_heavy_as_the_median_one() -> None:
    made = folded("median", [update([1.0], 10.0), update([2.0], 20.0), update([9.0], 1e30)])
    assert made.weights["p"] == 60.0
    np.testing.assert_array_equal(made.total("p"), [120.0])


def test_an_update_that_weighs_nothing_has_no_say() -> None:
    made = folded("median", [update([1.0]), update([3.0]), update([100.0], 0.0)])
    np.testing.assert_array_equal(made.mean("p"), [2.0])
    with pytest.raises(ValueError, match="there is no mean"):
        folded("median", [update([1.0], 0.0)]).mean("p")


BAD = {
    "is not finite: number 1 of 2 is nan": update([0.0, math.nan]),
    "is not finite: number 0 of 2 is inf": update([math.inf, 0.0]),
    "has weight -1.0": update([0.0, 0.0], -1.0),
    "has shape (3,) where others have (2,)": update([0.0, 0.0, 0.0]),
    "has a weight for each number": Update({"p": np.zeros(2, np.float32)}, {"p": np.ones(2)}),
}


@pytest.mark.parametrize("why", BAD)
def test_what_is_no_update_never_reaches_the_rule(why: str) -> None:
    fold, refused = make_rule("median").fold(), dict[int, str]()
    fold.take_all([(update([1.0, 2.0]), 1.0), (BAD[why], 1.0)], refused.__setitem__)
    assert list(refused) == [1]
    assert why in refused[1]
    np.testing.assert_array_equal(fold.finish().mean("p"), [1.0, 2.0])


def test_a_sum_of_updates_is_refused() -> None:
    fold = MeanFold()
    fold.add(update([1.0]))
    with pytest.raises(UnusableUpdateError, match="a sum of several updates"):
        make_rule("median").fold().take(fold.partial())


def test_a_rule_that_overrides_combine_needs_all_and_without_it_the_mean_is_meant() -> None:
    class Largest(Rule):
        def combine(self, block, weights):  # type: ignore[no-untyped-def]
            return block.max(axis=0)

    class Same(Rule):
        pass

    assert (Largest.needs_all, Same.needs_all) == (True, False)
    updates = [update([1.0, 5.0], 1.0), update([4.0, 2.0], 2.0)]
    fold = Largest().fold()
    for one in updates:
        fold.add(one)
    np.testing.assert_array_equal(fold.finish().mean("p"), [4.0, 5.0])
    table, weights = np.array([one.vectors["p"] for one in updates]), np.array([1.0, 2.0])
    np.testing.assert_allclose(Rule().combine(table, weights), folded("mean", updates).mean("p"))


def test_a_rule_that_gives_something_of_another_shape_is_named() -> None:
    class Wrong(Rule):
        def combine(self, block, weights):  # type: ignore[no-untyped-def]
            return block.mean()

    fold = Wrong().fold()
    fold.add(update([1.0, 2.0]))
    with pytest.raises(TypeError, match=r"must give floating-point numbers of shape \(2,\)"):
        fold.finish()


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("text", ["median", "krum(f=2)"])
def test_memory_does_not_grow_with_the_number_of_updates_that_wait(
    text: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, count = 200_000, 40
    monkeypatch.setattr(rows, "BLOCK", size)
    fold = make_rule(text).fold(as_it_is if kept else None)
    for i in range(count):
        save_arrays(tmp_path / f"{i}", update(np.full(size, i)).to_arrays())
    tracemalloc.start()
    for i in range(count):
        stored = Update.from_arrays(map_arrays(tmp_path / f"{i}"))
        fold.add(stored if kept else Update({"p": stored.vectors["p"].copy()}, {"p": 1.0}))
    middle = fold.finish().mean("p")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (middle == 19.5).all() or text != "median"
    assert peak < 9 * 4 * size  # The result, and blocks with what the rule takes beside them, some in float64.


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("medain", "did you mean 'median'"),
        ("median(0.1)", "Rule 'median' has no first parameter; it has none"),
        ("trimmed_mean(0.1, 0.2)", "Rule 'trimmed_mean' has no second parameter; its parameters are share"),
        ("trimmed_mean(0.1, share=0.2)", "Parameter 'share' of rule 'trimmed_mean' is given twice"),
        (
            "trimmed_mean(0.5)",
            "Parameter 'share' of rule 'trimmed_mean' is 0.5; it must be at least 0 and below 0.5.",
        ),
        ("trimmed_mean(shar=0.1)", "Rule 'trimmed_mean' has no parameter 'shar'; did you mean 'share'"),
        ("trimmed_mean(0.1", "cannot be read; write a name"),
        ("trimmed_mean(x())", "cannot be read; write a name"),
        ("trimmed_mean(**{'share': 0.1})", "cannot be read; write a name"),
        ("trimmed mean", "cannot be read; write a name"),
        ("nowhere_at_all:Rule", "cannot be imported: No module named 'nowhere_at_all'"),
        ("math:pi", "is no subclass of fogline.aggregation.rules.Rule"),
    ],
)
def test_a_text_that_names_no_rule_is_one_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        make_rule(text)


GIVEN = {"f": "2", "radius": "1.5", "norm": "2.5", "root": "'a'"}


@pytest.mark.parametrize("name", RULES)
def test_the_text_of_a_rule_makes_it_again(name: str) -> None:
    needed = ", ".join(f"{field.name}={GIVEN[field.name]}" for field in fields(RULES[name]) if field.default is MISSING)
    rule = make_rule(f"{name}({needed})")
    assert make_rule(rule_name(rule, "")) == rule
    assert make_rule("trimmed-mean(0.2)") == make_rule("trimmed_mean(share=0.2)")

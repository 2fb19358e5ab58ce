"""What each attack sends and trains on, against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from fogline.aggregation import Update
from fogline.aggregation.gathering import GatheringFold, as_it_is
from fogline.aggregation.rows import UpdateRows
from fogline.aggregation.rules import make_rule
from fogline.data import Examples
from fogline.simulation.attacks import ATTACKS, Attack, Collusion, RoundView
from fogline.simulation.attacks.backdoor import Backdoor
from fogline.simulation.attacks.label_flip import LabelFlip
from fogline.simulation.attacks.min_max import MinMax
from fogline.simulation.attacks.search import SearchedCollusion, Trial, line_search

RNG = np.random.default_rng(1)
HONEST = (RNG.normal(size=6) + 2.0 * RNG.normal(size=(9, 6)) * np.array([1, 1, 3, 1, 0.1, 1])).astype(np.float32)
OWN = np.arange(6, dtype=np.float32)


def view(
    rule: str | list[str] = "mean", malicious: int = 2, honest: np.ndarray = HONEST, last: np.ndarray | None = None
) -> RoundView:
    rows = UpdateRows([(row, 1.0) for row in honest], np.ones(len(honest)), [f"c{i}" for i in range(len(honest))], 6)
    return RoundView(rows, malicious, make_rule(rule), last)


def sent(text: str, seen: RoundView | None = None) -> np.ndarray:
    made = ATTACKS.read(text).forge(OWN, seen or view(), np.random.default_rng(0))
    assert made.dtype == np.float32
    return made


def test_what_is_sent_follows_from_mean_and_spread_of_the_honest() -> None:
    mean, std = HONEST.astype(float).mean(axis=0), HONEST.astype(float).std(axis=0)
    np.testing.assert_allclose(sent("sign_flip"), -mean, rtol=1e-5)
    np.testing.assert_allclose(sent("sign_flip(scale=10)"), -10 * mean, rtol=1e-5)
    np.testing.assert_allclose(sent("ipm"), -2 * mean, rtol=1e-5)
    np.testing.assert_allclose(sent("ipm(tau=0.5)"), -0.5 * mean, rtol=1e-5)
    np.testing.assert_allclose(sent("alie"), mean + 1.5 * std, rtol=1e-5)


def test_min_max_goes_as_far_as_two_honest_updates_are_apart() -> None:
    seen = view()
    pairs = np.linalg.norm(HONEST[:, None] - HONEST, axis=2).max()
    far = np.linalg.norm(HONEST - sent("min_max", seen), axis=1).max()
    assert far == pytest.approx(pairs, rel=1e-4)
    assert MinMax().gamma(seen) > 0
    assert np.array_equal(sent("min_max", view(honest=HONEST[:1].repeat(4, axis=0))), HONEST[0])


def test_mimic_sends_what_the_one_sends_who_stands_out_most() -> None:
    odd = HONEST.copy()
    odd[4] += 50.0
    assert np.array_equal(sent("mimic", view(honest=odd)), odd[4])


def test_noise_free_riders_and_replacement() -> None:
    many = np.zeros(100_000, np.float32)
    noise = ATTACKS.read("gaussian(std=3)").forge(many, view(), np.random.default_rng(0))
    assert noise.std() == pytest.approx(3.0, rel=0.02)
    assert noise.mean() == pytest.approx(0.0, abs=0.05)
    assert not sent("free_rider").any()
    assert ATTACKS.read("free_rider(0.1)").forge(many, view(), np.random.default_rng(0)).std() == pytest.approx(
        0.1, 0.02
    )
    np.testing.assert_allclose(sent("model_replacement"), OWN * 11 / 2)
    np.testing.assert_allclose(sent("model_replacement(boost=4)"), OWN * 4)


RULES = [
    "mean",
    "median",
    "trimmed_mean(0.2)",
    "krum(f=2)",
    "multi_krum(f=2)",
    "bulyan(f=2)",
    "geometric_median",
    "flame(noise=0.0)",
    "fltrust('c3')",
    ["norm_bound(3.0)", "nnm(f=2)", "trimmed_mean(0.2)"],
    "centered_clipping(2.0)",
    ["nnm(f=2)", "centered_clipping(2.0, iterations=2)"],
]
LAST = np.linspace(-1, 2, 6, dtype=np.float32)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_trial_is_what_the_rule_makes_of_the_round(rule: str | list[str]) -> None:
    remembers = make_rule(rule).remembers
    seen = view(rule, last=LAST if remembers else None)
    for name in ("opt_alie", "opt_ipm"):
        attack = ATTACKS.read(name)
        assert isinstance(attack, SearchedCollusion)
        of_mean, step = attack.line(seen)
        for tau in (0.0, 0.7, 3.0):
            forged = (of_mean * seen.mean + tau * step).astype(np.float32)
            fold = make_rule(rule).fold(as_it_is)
            for place, row in enumerate([*HONEST, forged, forged]):
                fold.add(Update({"delta": row}, {"delta": 1.0}, child=f"c{place}"))
            if remembers:
                assert isinstance(fold, GatheringFold)
                fold.last = {"delta": LAST}
            distance = np.linalg.norm(fold.finish().mean("delta") - HONEST.mean(axis=0))
            assert Trial(seen, of_mean, step).distance(tau) == pytest.approx(distance, abs=2e-5)


@pytest.mark.parametrize("rule", RULES[1:], ids=str)
def test_a_search_does_more_harm_than_the_fixed_strengths(rule: str | list[str]) -> None:
    for name, fixed in (("opt_alie", (0.0, 1.0, 1.5)), ("opt_ipm", (0.0, 1.0, 2.0))):
        seen, attack = view(rule), ATTACKS.read(name)
        assert isinstance(attack, SearchedCollusion)
        tried: list[tuple[float, float]] = []
        trial = Trial(seen, *attack.line(seen))

        def worth(tau: float, trial: Trial = trial, tried: list[tuple[float, float]] = tried) -> float:
            tried.append((trial.distance(tau), tau))
            return tried[-1][0]

        best = line_search(worth, 20)
        assert len(tried) == 20
        assert (max(tried)[0], best) == pytest.approx((trial.distance(best), best))
        assert trial.distance(best) >= max(map(trial.distance, fixed)) * 0.98


def test_labels_are_turned_round_and_marks_are_not() -> None:
    examples = Examples(np.zeros((4, 2), np.float32), np.array([0, 9, 3, -100]))
    made = LabelFlip().poison(examples, 10, np.random.default_rng(0))
    assert made.y.tolist() == [9, 0, 6, -100]
    assert examples.y.tolist() == [0, 9, 3, -100]
    with pytest.raises(ValueError, match="soft labels"):
        LabelFlip().poison(Examples(examples.x, np.zeros((4, 3), np.float32)), 3, np.random.default_rng(0))


def test_a_backdoor_stamps_its_share_and_is_judged_on_other_classes() -> None:
    x, y = RNG.normal(size=(10, 1, 8, 8)).astype(np.float32), np.arange(10) % 5
    before, attack = x.copy(), Backdoor(target=2, size=2, share=0.4)
    made = attack.poison(Examples(x, y), 5, np.random.default_rng(0))
    changed = (made.array != x).any(axis=(1, 2, 3))
    assert changed.sum() == 4
    assert (made.y[changed] == 2).all()
    assert np.array_equal(made.y[~changed], y[~changed])
    outside = made.array.copy()
    outside[..., -2:, -2:] = x[..., -2:, -2:]
    assert np.array_equal(outside, x)
    assert np.array_equal(x, before)
    judged = attack.triggered(Examples(x, y), 5)
    assert judged.count == 8
    assert set(judged.y.tolist()) == {2}
    assert (judged.array[..., -2:, -2:] == judged.array.max()).all()
    rows = attack.triggered(Examples(x[:, 0, 0], y), 5).array
    assert (rows[:, -4:] == rows.max()).all()
    assert np.array_equal(rows[:, :-4], x[y != 2][:, 0, 0][:, :-4])
    with pytest.raises(ValueError, match="2 among them; the data has labels of shape"):
        attack.poison(Examples(x, y), 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="inputs that are one array of numbers"):
        attack.poison(Examples(x.astype(np.int64), y), 5, np.random.default_rng(0))


class Nothing(Attack):
    """Changes nothing."""


class Silent(Collusion):
    """Does not say what all send."""


def test_an_attack_that_changes_nothing_is_refused() -> None:
    for name in ("Nothing", "Silent"):
        with pytest.raises(ValueError, match=f"{name} changes nothing; write: def forge"):
            ATTACKS.read(f"{__name__}:{name}")
    with pytest.raises(ValueError, match=r"There is no attack 'ali'; did you mean 'alie'\?"):
        ATTACKS.read("ali")
    with pytest.raises(ValueError, match=r"Parameter 'tau' of attack 'ipm' is -1\.0; it must be at least 0"):
        ATTACKS.read("ipm(tau=-1)")
